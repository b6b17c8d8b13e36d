// Whether this is `tests/run.sh --full`: everything, in place of a sample.
#pragma once

#include <cstdlib>
#include <string_view>

namespace vmrig::testing {

inline bool is_full_run() {
  const char* full = std::getenv("VMRIG_FULL");  // NOLINT(concurrency-mt-unsafe)
  return full != nullptr && std::string_view(full) == "1";
}

}  // namespace vmrig::testing
