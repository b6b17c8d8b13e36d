// Awaits the end of a process within an event loop.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>

#include "qmp/deadline.hpp"

namespace vmrig {

// Watches a pidfd (duplicated) on one thread of `executor`. Children and strangers alike; reaps
// nothing.
class ExitWatch {
 public:
  ExitWatch(boost::asio::any_io_executor executor, int pidfd);
  ExitWatch(const ExitWatch&) = delete;
  ExitWatch& operator=(const ExitWatch&) = delete;
  ~ExitWatch();

  // True once the process has ended; false at the deadline. Any number of waits at once.
  boost::asio::awaitable<bool> wait(qmp::Deadline deadline);
  bool has_ended() const;
  // Called once, from the executor, when the process ends; takes the place of an earlier handler,
  // an empty one removes it.
  void on_exit(std::function<void()> handler);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace vmrig
