// Captures of NICs whose packets pass QEMU: the supervisor's part of `vmrig capture`.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <functional>
#include <memory>
#include <string>

#include "hostcfg/base/json.hpp"
#include "launcher/state_dir.hpp"
#include "qmp/client.hpp"

namespace vmrig {

// What the supervisor lends. All of it has to outlive the Captures.
struct CaptureParts {
  boost::asio::any_io_executor executor;
  std::function<qmp::Client&()> monitor;  // the one that is connected now
  std::function<VmFolder&()> folder;
  std::function<void(const std::string& line)> log;
};

// For the one thread of its executor. QEMU writes packets into a pipe from its main loop, which
// would stand still when nobody reads: the supervisor reads at once, always, and hands on what the
// client takes; what the client leaves lying too long is dropped, and counted. A client that has
// gone, however it went, takes QEMU's filter with it.
class Captures {
 public:
  explicit Captures(CaptureParts parts);
  Captures(const Captures&) = delete;
  Captures& operator=(const Captures&) = delete;
  ~Captures();

  // vmrig-capture: {"nic", "fifo", "snaplen"}, the netdev's id, a FIFO in the VM's folder that the
  // client has open for reading, the bytes to keep of a packet. Returns {"id"}; the FIFO then gets
  // a pcap. Throws vmrig::Error.
  boost::asio::awaitable<Json> begin(Json arguments);

  // vmrig-capture-end: {"id"}. Returns {"dropped"} once QEMU's filter is gone. Throws vmrig::Error.
  boost::asio::awaitable<Json> end(Json arguments);

 private:
  struct Capture;
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace vmrig
