#include "qmp/fd.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>

#include "qmp/error.hpp"

namespace qmp {

void Fd::reset(int fd) noexcept {
  // No retry on EINTR: Linux has released the number even then (close(2), "Dealing with errors").
  if (fd_ >= 0 && fd_ != fd) ::close(fd_);
  fd_ = fd;
}

Fd duplicate(int fd) {
  const int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (copy < 0) {
    throw Error(ErrorKind::closed, "cannot duplicate fd " + std::to_string(fd) + ": " +
                                       std::generic_category().message(errno));
  }
  return Fd(copy);
}

}  // namespace qmp
