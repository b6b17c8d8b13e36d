#include "launcher/cli/output.hpp"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "hostcfg/base/error.hpp"

namespace vmrig {

void write_out(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno == EAGAIN) {
      // Standard output may share a non-blocking terminal or pipe with another program.
      pollfd waiting{.fd = STDOUT_FILENO, .events = POLLOUT, .revents = 0};
      ::poll(&waiting, 1, -1);
    } else if (errno == EPIPE) {
      throw OutputClosed();
    } else if (errno != EINTR) {
      throw system_error("write", "standard output", errno);
    }
  }
}

void write_json(const Json& json) {
  const int indent = stdout_is_terminal() ? 2 : -1;
  write_out(json_text(json, indent) + "\n");
}

bool stdout_is_terminal() { return ::isatty(STDOUT_FILENO) == 1; }

bool stderr_is_terminal() { return ::isatty(STDERR_FILENO) == 1; }

Colour stdout_colour() {
  const char* no_color = std::getenv("NO_COLOR");  // NOLINT(concurrency-mt-unsafe)
  const bool refused = no_color != nullptr && *no_color != '\0';
  return !refused && stdout_is_terminal() ? Colour::kOn : Colour::kOff;
}

std::size_t stdout_columns() {
  constexpr std::size_t kDefault = 100;
  constexpr std::size_t kLeast = 60;  // narrower would break every line in columns
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return kDefault;
  return std::max<std::size_t>(size.ws_col, kLeast);
}

}  // namespace vmrig
