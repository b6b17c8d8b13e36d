#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "qmp/client.hpp"

namespace qmp {

/// The Client for scripts and tools without an event loop: each call blocks until it is done.
/// Events that arrive between calls are kept (the newest 4096). Use from one thread at a time.
class SyncClient {
 public:
  /// Connects to the QMP socket at `path` (a monitor of QEMU or a Server). Call handshake() next.
  /// Throws Error: closed (no such socket, refused, path too long), timeout.
  static SyncClient connect(const std::string& path, Deadline deadline, ClientOptions options = {});
  /// Connects to a guest agent's socket and synchronises with it (guest-sync-delimited).
  static SyncClient connect_guest_agent(const std::string& path, Deadline deadline);
  /// Takes ownership of a connected AF_UNIX stream socket.
  explicit SyncClient(int connected_fd, ClientOptions options = {});

  /// Connects anew to where connect() or connect_guest_agent() did, with handshake or
  /// synchronisation, after the other end (or this one) has closed. For ends that take one client
  /// after another: a listening monitor, a Server, the guest agent. Events kept so far stay; those
  /// of the time between are lost, and client() is another one. Throws Error: closed (also for a
  /// client that was made from an fd), timeout, protocol.
  void reconnect(Deadline deadline);

  SyncClient(SyncClient&&) noexcept;
  SyncClient& operator=(SyncClient&&) noexcept;
  ~SyncClient();

  /// As Client's.
  Greeting handshake(Deadline deadline);
  Json execute(std::string command, Json arguments = Json::object(), ExecuteOptions options = {});
  std::vector<Outcome> execute_all(std::vector<Request> requests, Deadline deadline = kNoDeadline);
  /// The oldest kept event that matches, else the next one to arrive. Events that don't match
  /// stay kept.
  Event wait_event(const EventMatch& match, Deadline deadline);

  /// Runs the event loop until `done` holds (asked before and after each of its steps), for
  /// programs that put objects of their own on client().get_executor(). Blocks for ever when
  /// nothing makes it hold.
  void run_until(const std::function<bool()>& done);

  bool is_open() const noexcept;
  /// The core, for use with the executor's own coroutines.
  Client& client() noexcept;

 private:
  struct State;
  explicit SyncClient(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace qmp
