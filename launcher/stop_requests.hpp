// Requests to end a running VM: vmrig-stop, and signals. Each climbs the ladder of its own.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <optional>
#include <string>

#include "hostcfg/base/json.hpp"
#include "launcher/session.hpp"
#include "launcher/stop_ladder.hpp"
#include "launcher/vm_state.hpp"

namespace vmrig {

// What the supervisor lends. All of it has to outlive the StopRequests.
struct StopParts {
  boost::asio::any_io_executor executor;
  std::function<Session&()> session;
  VmState& state;
  std::function<void()> save;  // writes `state`
  std::function<void(const std::string& line)> log;
  // Called with each request, before anything is done for it.
  std::function<void()> on_request;
};

inline constexpr const char* kByNoRestart = "no restart";

// For the one thread of its executor.
class StopRequests {
 public:
  explicit StopRequests(StopParts parts);
  StopRequests(const StopRequests&) = delete;
  StopRequests& operator=(const StopRequests&) = delete;

  // vmrig-stop: {"force", "timeout"}. Returns {"by"}, the highest rung, when over() was called;
  // kByNoRestart for a VM whose QEMU had ended, and which waited to be started anew.
  // Throws qmp::Error for arguments that it does not know.
  boost::asio::awaitable<Json> stop(Json arguments);
  // A signal: the first asks the guest, the next ends QEMU.
  void climb_for_signal();

  // A request was made, also while there was no guest yet that could be asked.
  void count() {
    ++count_;
    parts_.on_request();
  }
  bool any() const { return count_ > 0; }
  std::optional<StopBy> rung() const { return rung_; }  // the highest that any ladder climbed
  // QEMU's end is the ladder's; this is when the host is as before and the name is free.
  void over();

 private:
  boost::asio::awaitable<void> climb(StopOptions options);

  StopParts parts_;
  StopOptions defaults_;
  boost::asio::steady_timer over_;
  std::optional<StopBy> rung_;
  int count_ = 0;  // by anyone
  int signals_ = 0;
  bool is_over_ = false;
};

}  // namespace vmrig
