// System calls that a signal may interrupt.
#pragma once

#include <cerrno>

namespace vmrig {

// What `call` returns, called again as long as it fails with EINTR: a signal that this process
// handles is no fault of the file. Not for close(), whose fd is gone all the same.
template <class Call>
auto retrying(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

}  // namespace vmrig
