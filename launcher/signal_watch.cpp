#include "launcher/signal_watch.hpp"

#include <unistd.h>

#include <utility>

namespace vmrig {

Disposition::Disposition(int number, void (*handler)(int)) : number_(number) {
  struct sigaction action {};
  action.sa_handler = handler;
  ::sigaction(number, &action, &before_);
}

SignalWatch::SignalWatch(boost::asio::io_context& context, RunMode mode,
                         std::function<void(int number)> on_stop, std::function<void()> on_child)
    : signals_(context, SIGTERM, SIGINT),
      on_stop_(std::move(on_stop)),
      on_child_(std::move(on_child)) {
  if (mode == RunMode::kForeground) signals_.add(SIGHUP);
  if (::getpid() == 1) signals_.add(SIGCHLD);
  wait();
}

void SignalWatch::wait() {
  signals_.async_wait([this](const boost::system::error_code& fault, int number) {
    if (fault) return;
    if (number == SIGCHLD) {
      on_child_();
    } else {
      on_stop_(number);
    }
    wait();
  });
}

}  // namespace vmrig
