// The time of day, for people and for records. It jumps: nothing may wait for it (qmp::Deadline is
// for that, on a clock that neither jumps nor runs while the host sleeps).
#pragma once

#include <chrono>
#include <cstdint>

namespace vmrig {

inline std::int64_t milliseconds_since_epoch() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

inline std::int64_t seconds_since_epoch() { return milliseconds_since_epoch() / 1000; }

}  // namespace vmrig
