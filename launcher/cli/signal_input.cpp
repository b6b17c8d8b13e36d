#include "launcher/cli/signal_input.hpp"

#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>

#include "hostcfg/base/error.hpp"

namespace vmrig {

SignalInput::SignalInput(std::initializer_list<int> signals) {
  sigset_t mask;
  sigemptyset(&mask);
  for (const int number : signals) sigaddset(&mask, number);
  ::pthread_sigmask(SIG_BLOCK, &mask, &before_);
  fd_.reset(::signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK));
  if (fd_) return;
  const int error_number = errno;
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  throw system_error("take signals", {}, error_number);
}

SignalInput::~SignalInput() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

int SignalInput::take() const {
  signalfd_siginfo info{};
  const ssize_t got = ::read(fd_.get(), &info, sizeof info);
  return got == static_cast<ssize_t>(sizeof info) ? static_cast<int>(info.ssi_signo) : 0;
}

}  // namespace vmrig
