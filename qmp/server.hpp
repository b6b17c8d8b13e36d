#pragma once

#include <sys/types.h>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "qmp/client.hpp"
#include "qmp/event.hpp"
#include "qmp/framing.hpp"
#include "qmp/json.hpp"

namespace qmp {

/// Runs a command of the server's own. Gets "arguments" (an object, empty when absent), returns
/// the "return" value. A qmp::Error of kind command is the refusal sent to the client; any other
/// exception becomes a GenericError with its text. Goes on when the client has left meanwhile.
using Handler = std::function<asio::awaitable<Json>(Json arguments)>;

/// Settings of a Server.
struct ServerOptions {
  /// Largest message and nesting taken from a client.
  FramingLimits limits{kMaxRequestBytes, kMaxNesting};
  /// Bytes that may wait for a client to read them; past it the client is dropped.
  std::size_t max_queued_bytes = std::size_t{8} << 20;
  /// The same of events alone: what a guest causes as often as it likes costs less memory than what
  /// the client itself has asked for.
  std::size_t max_queued_event_bytes = std::size_t{1} << 20;
  /// Commands of one client under way; past it no more is read from it until one is answered.
  std::size_t max_pending_commands = 256;
  /// Clients at once; further ones are closed at once.
  std::size_t max_clients = 128;
  /// Uids besides this process's own and root that may connect.
  std::vector<uid_t> allowed_uids;
  /// Clients' commands to be told of once QEMU has carried them out ("device_add"), and whom to
  /// tell, from the executor.
  std::vector<std::string> watched_commands;
  std::function<void(const std::string& command)> on_watched;
  /// Told of dropped and refused clients; may be empty.
  std::function<void(const std::string& message)> log;
};

/// Serves plain QMP to any number of clients over one connection to QEMU: QEMU's greeting,
/// qmp_capabilities, ids given back as they came, events to everyone. Replies keep each client's
/// order (except for exec-oob), as QEMU's do. fds that come with getfd or add-fd are passed on,
/// others closed. QEMU's extension of 'single quoted' JSON is not taken.
///
/// Same threading rule as Client: one thread of `executor`.
class Server {
 public:
  /// Takes ownership of `listening_fd`, a listening AF_UNIX stream socket. `upstream` has to be
  /// past its handshake and outlive the server, or upstream_gone() or replace_upstream().
  Server(asio::any_io_executor executor, int listening_fd, Client& upstream,
         ServerOptions options = {});
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  /// Closes all clients at once and stops listening. The socket file is the caller's to remove.
  ~Server();

  /// Serves `name` by `handler`; listed in query-commands. Takes the place of QEMU's command of
  /// that name, or of an earlier handler.
  void add_command(std::string name, Handler handler);

  /// Sends an event of our own to all negotiated clients, with the present time when
  /// event.seconds is 0.
  void broadcast(const Event& event);

  /// Goes on with another connection to the same QEMU (past its handshake).
  void replace_upstream(Client& upstream);

  /// QEMU is gone: no more clients are taken; commands that wait for QEMU are answered with an
  /// error; SHUTDOWN with `shutdown_data` is sent unless QEMU's own was; each client is closed
  /// once it has read everything (see drained()).
  void upstream_gone(Json shutdown_data = Json{{"guest", false}, {"reason", "host-error"}});

  /// Returns when no client is left, at `deadline` at the latest. For use after upstream_gone().
  asio::awaitable<void> drained(Deadline deadline);

  std::size_t client_count() const noexcept;

 private:
  class Core;
  class Session;
  std::shared_ptr<Core> core_;
};

}  // namespace qmp
