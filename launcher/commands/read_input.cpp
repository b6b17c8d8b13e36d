#include "launcher/commands/read_input.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "hostcfg/base/error.hpp"
#include "hostcfg/base/fd.hpp"
#include "launcher/commands/environment.hpp"

namespace vmrig {
namespace {

Error read_error(const char* what, const std::string& path, int error_number) {
  return Error({.status = ExitStatus::kUsage,
                .operation = std::string("read ") + what,
                .object = path,
                .cause = system_error({}, {}, error_number).parts().cause,
                .mend = {}});
}

Fd open_input(const char* what, const std::string& path) {
  if (path == "-") return Fd(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3));
  // A pipe is welcome (a shell's process substitution), and so may block.
  Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  if (!file) throw read_error(what, path, errno);
  return file;
}

}  // namespace

std::string read_input(const char* what, const std::string& path, std::size_t limit) {
  const Fd file = open_input(what, path);
  std::string text;
  constexpr std::size_t kStep = 16384;
  while (text.size() <= limit) {
    const std::size_t used = text.size();
    const std::size_t room = std::min(kStep, limit + 1 - used);
    text.resize(used + room);
    const ssize_t got = ::read(file.get(), text.data() + used, room);
    const int error_number = errno;
    text.resize(used + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    if (got == 0) return text;
    if (got < 0 && error_number != EINTR) throw read_error(what, path, error_number);
  }
  return text;
}

std::string input_folder(const std::string& path) {
  if (path == "-") return absolute_path(".");
  const std::string absolute = absolute_path(path);
  const std::size_t slash = absolute.rfind('/');
  return slash == 0 ? "/" : absolute.substr(0, slash);
}

}  // namespace vmrig
