// One QMP connection beside standard input: whichever has news is served.
#pragma once

#include <boost/asio/posix/stream_descriptor.hpp>
#include <chrono>
#include <functional>
#include <string>

#include "hostcfg/base/json.hpp"
#include "launcher/commands/vm_connection.hpp"

namespace vmrig {

class QmpExchange {
 public:
  QmpExchange(VmConnection vm, std::chrono::milliseconds timeout);
  QmpExchange(const QmpExchange&) = delete;
  QmpExchange& operator=(const QmpExchange&) = delete;

  // Runs one request; the reply as QMP has it, with the request's own id: an object with "return"
  // or "error". `is_given_up` is asked meanwhile. Throws Error: the VM is gone, time up, given up.
  Json run(Json request, const std::function<bool()>& is_given_up);

  enum class News { kInput, kClosed, kInterrupted };
  // What comes first; input wins over the connection's end.
  News await(const std::function<bool()>& is_interrupted);
  // To be called once what await() told of has been read.
  void has_read() { is_input_ready_ = false; }

  VmConnection& vm() { return vm_; }
  bool is_closed() const { return is_closed_; }
  // Why the connection ended, when it has.
  const std::string& close_reason() const { return close_reason_; }

 private:
  VmConnection vm_;
  std::chrono::milliseconds timeout_;
  boost::asio::posix::stream_descriptor input_;
  bool is_input_awaited_ = false;
  bool is_input_ready_ = false;
  bool is_closed_ = false;
  std::string close_reason_;
};

}  // namespace vmrig
