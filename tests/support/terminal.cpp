#include "tests/support/terminal.hpp"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <system_error>

#include "hostcfg/base/error.hpp"

namespace vmrig::testing {

Terminal::Terminal(std::vector<std::string> argv,
                   const std::map<std::string, std::string>& environment) {
  std::vector<char*> words;
  words.reserve(argv.size() + 1);
  for (std::string& word : argv) words.push_back(word.data());
  words.push_back(nullptr);
  const winsize size{.ws_row = 50, .ws_col = 200, .ws_xpixel = 0, .ws_ypixel = 0};
  int screen = -1;
  pid_ = ::forkpty(&screen, nullptr, nullptr, &size);
  if (pid_ < 0) throw std::system_error(errno, std::generic_category(), "forkpty");
  if (pid_ == 0) {
    std::signal(SIGPIPE, SIG_DFL);
    for (const auto& [name, value] : environment) ::setenv(name.c_str(), value.c_str(), 1);
    ::execvp(words.front(), words.data());
    ::_exit(127);
  }
  screen_ = Fd(screen);
  ::fcntl(screen, F_SETFD, FD_CLOEXEC);
}

Terminal::~Terminal() {
  if (has_ended_) return;
  ::kill(-pid_, SIGKILL);  // a shell's programs, too
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void Terminal::type(std::string_view keys) const {
  if (::write(screen_.get(), keys.data(), keys.size()) != static_cast<ssize_t>(keys.size())) {
    throw std::system_error(errno, std::generic_category(), "type");
  }
}

void Terminal::resize(unsigned short rows, unsigned short columns) const {
  const winsize size{.ws_row = rows, .ws_col = columns, .ws_xpixel = 0, .ws_ypixel = 0};
  if (::ioctl(screen_.get(), TIOCSWINSZ, &size) != 0) {
    throw std::system_error(errno, std::generic_category(), "resize");
  }
}

termios Terminal::mode() const {
  termios now{};
  if (::tcgetattr(screen_.get(), &now) != 0) {
    throw std::system_error(errno, std::generic_category(), "read the terminal's mode");
  }
  return now;
}

int Terminal::wait(std::chrono::milliseconds within) {
  const auto until = std::chrono::steady_clock::now() + within;
  read_to_end(within);
  const Fd process(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
  pollfd ended{.fd = process.get(), .events = POLLIN, .revents = 0};
  if (::poll(&ended, 1, static_cast<int>(std::max<std::int64_t>(left.count(), 0))) <= 0) return -1;
  int status = 0;
  ::waitpid(pid_, &status, 0);
  has_ended_ = true;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// False at the end of what is shown, or when time is up.
bool Terminal::read_more(std::chrono::steady_clock::time_point until) {
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
  pollfd readable{.fd = screen_.get(), .events = POLLIN, .revents = 0};
  if (left.count() <= 0 || ::poll(&readable, 1, static_cast<int>(left.count())) <= 0) return false;
  std::array<char, 65536> buffer{};
  const ssize_t got = ::read(screen_.get(), buffer.data(), buffer.size());
  if (got <= 0) return got < 0 && errno == EINTR;  // EIO: nobody has the terminal any more
  shown_.append(buffer.data(), static_cast<std::size_t>(got));
  return true;
}

bool Terminal::wait_for(std::string_view text, std::chrono::milliseconds within) {
  const auto until = std::chrono::steady_clock::now() + within;
  while (shown_.find(text) == std::string::npos) {
    if (!read_more(until)) return false;
  }
  return true;
}

const std::string& Terminal::read_to_end(std::chrono::milliseconds within) {
  const auto until = std::chrono::steady_clock::now() + within;
  while (read_more(until)) {
  }
  return shown_;
}

std::string danger_in(std::string_view text) {
  for (std::size_t at = 0; at < text.size(); ++at) {
    const auto byte = static_cast<unsigned char>(text[at]);
    const std::string_view rest = text.substr(at);
    if (byte == '\n' || byte == '\t') continue;
    if (byte == '\r' && rest.size() > 1 && rest[1] == '\n') continue;  // the terminal's own
    if (byte == 0x1b && rest.size() > 2 && rest[1] == '[') {
      const std::size_t end = rest.find_first_not_of("0123456789;", 2);
      if (end != std::string_view::npos && rest[end] == 'm') continue;
    }
    const bool is_c1 =
        byte == 0xc2 && rest.size() > 1 && static_cast<unsigned char>(rest[1]) < 0xa0;
    // Those that turn the direction of writing: U+202A to U+202E, U+2066 to U+2069.
    const bool turns = rest.starts_with("\xe2\x80\xaa") || rest.starts_with("\xe2\x80\xab") ||
                       rest.starts_with("\xe2\x80\xac") || rest.starts_with("\xe2\x80\xad") ||
                       rest.starts_with("\xe2\x80\xae") || rest.starts_with("\xe2\x81\xa6") ||
                       rest.starts_with("\xe2\x81\xa7") || rest.starts_with("\xe2\x81\xa8") ||
                       rest.starts_with("\xe2\x81\xa9");
    if (byte < 0x20 || byte == 0x7f || is_c1 || turns) {
      return "byte " + std::to_string(at) + ": " + quote(text.substr(at > 40 ? at - 40 : 0, 80));
    }
  }
  return {};
}

}  // namespace vmrig::testing
