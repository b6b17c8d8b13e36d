// What a running VM's supervisor serves: QMP with vmrig's own commands, and the console.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <optional>
#include <string>

#include "hostcfg/base/fd.hpp"
#include "hostcfg/base/json.hpp"
#include "launcher/capture.hpp"
#include "launcher/console.hpp"
#include "launcher/hotplug/hotplug.hpp"
#include "launcher/session.hpp"
#include "launcher/stop_requests.hpp"
#include "launcher/vm_state.hpp"
#include "qmp/server.hpp"

namespace vmrig {

// What the supervisor lends. All of it has to outlive the VmService.
struct ServiceParts {
  boost::asio::any_io_executor executor;
  std::function<Session&()> session;
  const VmState& state;
  StopRequests& stops;
  Hotplug& hotplug;
  Captures& captures;
  std::function<void(const std::string& line)> log;
};

// For the one thread of its executor.
class VmService {
 public:
  explicit VmService(ServiceParts parts)
      : parts_(std::move(parts)), ping_answer_(parts_.executor) {}
  VmService(const VmService&) = delete;
  VmService& operator=(const VmService&) = delete;

  // Clients are answered from here on. Both sockets listen; takes the session's console.
  void open(Fd qmp_socket, std::optional<Fd> console_socket,
            ConsoleOptions::SerialEnd on_serial_end);
  bool is_open() const { return server_.has_value(); }
  // The session has another connection to the same QEMU.
  void replace_monitor() { server_->replace_upstream(*parts_.session().monitor); }
  // It has another QEMU, with another console.
  void replace_qemu();
  // An event of vmrig's own, to all clients.
  void tell(const std::string& event, Json data);
  // False at the deadline, or when the console has ended before it printed the text.
  boost::asio::awaitable<bool> wait_for_text(std::string text, qmp::Deadline deadline);
  // QEMU is gone: tells all clients, and waits for a moment until they have read it.
  boost::asio::awaitable<void> end(Json shutdown_data);
  // Drops all clients.
  void close();

 private:
  void add_commands();
  void add_hotplug_command(const char* name,
                           boost::asio::awaitable<Json> (Hotplug::*operation)(Json arguments));
  void add_refusing_command(const char* name, qmp::Handler operation);
  boost::asio::awaitable<Json> open_channels();
  boost::asio::awaitable<Json> status();
  boost::asio::awaitable<Json> ping(Json arguments);

  ServiceParts parts_;
  std::optional<qmp::Server> server_;
  std::optional<ConsoleServer> console_;
  boost::asio::steady_timer ping_answer_;
  bool is_ping_open_ = false;
};

}  // namespace vmrig
