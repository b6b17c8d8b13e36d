// The signals that a supervisor takes while it lives.
#pragma once

#include <signal.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <functional>

#include "launcher/initial_state.hpp"

namespace vmrig {

// A signal's disposition for a time.
class Disposition {
 public:
  Disposition(int number, void (*handler)(int));
  Disposition(const Disposition&) = delete;
  Disposition& operator=(const Disposition&) = delete;
  ~Disposition() { ::sigaction(number_, &before_, nullptr); }

 private:
  int number_;
  struct sigaction before_ {};
};

// TERM, INT and, in the foreground, HUP ask for the VM's end. As PID 1 it hears of children's ends,
// too: every orphan of the container is its own.
class SignalWatch {
 public:
  SignalWatch(boost::asio::io_context& context, RunMode mode,
              std::function<void(int number)> on_stop, std::function<void()> on_child);
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;

 private:
  void wait();

  boost::asio::signal_set signals_;
  std::function<void(int number)> on_stop_;
  std::function<void()> on_child_;
};

}  // namespace vmrig
