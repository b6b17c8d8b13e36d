#include "launcher/cli/raw_terminal.hpp"

#include <unistd.h>

#include <cerrno>

#include "hostcfg/base/error.hpp"

namespace vmrig {

RawTerminal::RawTerminal(int fd) : fd_(fd), is_terminal_(::isatty(fd) == 1) {
  if (!is_terminal_) return;
  if (::tcgetattr(fd_, &before_) != 0) throw system_error("read the terminal's mode", {}, errno);
  termios raw = before_;
  ::cfmakeraw(&raw);
  if (::tcsetattr(fd_, TCSANOW, &raw) != 0) {
    throw system_error("set the terminal's mode", {}, errno);
  }
}

RawTerminal::~RawTerminal() {
  // TCSADRAIN: what the guest printed last still passes through the mode that it was meant for.
  if (is_terminal_) ::tcsetattr(fd_, TCSADRAIN, &before_);
}

}  // namespace vmrig
