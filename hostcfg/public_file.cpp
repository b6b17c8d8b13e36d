#include "hostcfg/public_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "hostcfg/base/error.hpp"
#include "hostcfg/base/fd.hpp"

namespace vmrig {
namespace {

std::string temporary_name(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::size_t begin = slash == std::string::npos ? 0 : slash + 1;
  return path.substr(0, begin) + "." + path.substr(begin) + ".XXXXXX";
}

// errno, or 0.
int write_all(int fd, std::string_view content) {
  while (!content.empty()) {
    const ssize_t put = ::write(fd, content.data(), content.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return errno;
    content.remove_prefix(static_cast<std::size_t>(put));
  }
  return ::fchmod(fd, S_IRUSR | S_IWUSR | S_IRGRP | S_IROTH) == 0 ? 0 : errno;
}

}  // namespace

void replace_public_file(const std::string& path, std::string_view content) {
  std::string name = temporary_name(path);
  const Fd file(::mkostemp(name.data(), O_CLOEXEC));
  if (!file) throw system_error("write", path, errno);
  int fault = write_all(file.get(), content);
  if (fault == 0 && ::rename(name.c_str(), path.c_str()) != 0) fault = errno;
  if (fault == 0) return;
  ::unlink(name.c_str());
  throw system_error("write", path, fault);
}

}  // namespace vmrig
