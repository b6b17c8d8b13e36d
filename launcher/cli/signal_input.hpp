// Signals that end a command, taken as data.
#pragma once

#include <csignal>
#include <initializer_list>

#include "hostcfg/base/fd.hpp"

namespace vmrig {

// Blocks the signals for as long as it lives; fd() is readable once one has come. Throws Error.
class SignalInput {
 public:
  explicit SignalInput(std::initializer_list<int> signals);
  SignalInput(const SignalInput&) = delete;
  SignalInput& operator=(const SignalInput&) = delete;
  ~SignalInput();

  int fd() const { return fd_.get(); }
  int take() const;  // the number of the signal that came; 0 when none has

 private:
  sigset_t before_{};
  Fd fd_;
};

}  // namespace vmrig
