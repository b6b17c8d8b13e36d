#include "hostcfg/host_refusal.hpp"

#include <utility>

namespace vmrig {

Error host_refusal(std::string operation, std::string object, std::string cause, std::string mend) {
  return Error({.status = ExitStatus::kHost,
                .operation = std::move(operation),
                .object = std::move(object),
                .cause = std::move(cause),
                .mend = std::move(mend)});
}

}  // namespace vmrig
