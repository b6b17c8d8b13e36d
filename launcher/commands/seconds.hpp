// Seconds as users give them.
#pragma once

#include <chrono>

namespace vmrig {

// `seconds` from 0 to 1e9, to the millisecond.
inline std::chrono::milliseconds to_milliseconds(double seconds) {
  constexpr double kMillisecondsPerSecond = 1000;
  return std::chrono::milliseconds(
      static_cast<std::chrono::milliseconds::rep>(seconds * kMillisecondsPerSecond));
}

}  // namespace vmrig
