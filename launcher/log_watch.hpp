// Keeps a log that another process writes from growing without end.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <string>

namespace vmrig {

// For the one thread of its executor. Looks at the log's size when the kernel tells that it was
// written to, and not again for a moment: a writer without end costs a look every 100 ms, one that
// is silent nothing.
class LogWatch {
 public:
  // `cut_if_long` looks at the file and makes it short. Throws vmrig::Error when the file can't be
  // watched.
  LogWatch(const boost::asio::any_io_executor& executor, const std::string& path,
           std::function<void()> cut_if_long);
  LogWatch(const LogWatch&) = delete;
  LogWatch& operator=(const LogWatch&) = delete;
  ~LogWatch();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace vmrig
