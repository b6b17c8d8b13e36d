// A terminal that hands over every key as it is.
#pragma once

#include <termios.h>

namespace vmrig {

// Raw mode for as long as it lives; leaves every way out to the destructor, so signals have to be
// taken as data meanwhile (signalfd). Does nothing when `fd` is no terminal. Throws Error.
class RawTerminal {
 public:
  explicit RawTerminal(int fd);
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;
  ~RawTerminal();

  bool is_terminal() const { return is_terminal_; }

 private:
  int fd_;
  bool is_terminal_;
  termios before_{};
};

}  // namespace vmrig
