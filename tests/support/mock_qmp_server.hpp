#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qmp/deadline.hpp"
#include "qmp/json.hpp"

namespace qmp::testing {

/// How the mock meets a new client.
enum class MockGreeting {
  normal,           ///< QEMU's greeting, without oob
  with_oob,         ///< and oob offered
  none,             ///< silence
  garbage,          ///< bytes that are not JSON
  wrong_shape,      ///< JSON, but "QMP" is no object
  half,             ///< half of a greeting, then silence
  half_then_close,  ///< half of a greeting, then the end
  close_at_once,    ///< the end
};

/// How the mock answers qmp_capabilities.
enum class MockCapabilities { accept, refuse, close, silence };

/// What the mock does with one command.
struct MockReply {
  Json value = Json::object();  ///< "return" value
  std::string error_class;      ///< not empty: an error instead, with `desc`
  std::string desc;
  std::vector<Json> events_before;  ///< whole events, sent before the reply
  std::vector<Json> events_after;   ///< and after it
  bool silent = false;              ///< no reply at all
  bool close = false;               ///< close the connection instead
  std::string raw;                  ///< not empty: these bytes instead of a reply
};

/// A script for a MockQmpServer; plain data.
struct MockScript {
  MockGreeting greeting = MockGreeting::normal;
  MockCapabilities capabilities = MockCapabilities::accept;
  /// By command name. A command that is not listed gets CommandNotFound.
  std::map<std::string, MockReply> replies;
  std::string preamble;  ///< sent before the greeting (a dead client's replies, say)
};

/// A small QMP server that behaves as scripted: one thread, one client after another, on a
/// listening socket in a private temporary folder. Stops and cleans up when destroyed.
class MockQmpServer {
 public:
  explicit MockQmpServer(MockScript script = {});
  MockQmpServer(const MockQmpServer&) = delete;
  MockQmpServer& operator=(const MockQmpServer&) = delete;
  ~MockQmpServer();

  /// Path of the listening socket.
  const std::string& path() const;
  /// A new connection to it, close-on-exec; the caller owns it.
  int connect() const;

  /// Sends an event (with a timestamp) to the present client.
  void emit(const std::string& name, const Json& data = Json::object());
  /// Sends bytes as they are to the present client.
  void send_raw(std::string_view bytes);
  /// Closes the present client's connection.
  void drop_client();
  /// Changes or adds the reply to a command.
  void set_reply(const std::string& command, MockReply reply);

  /// All requests so far, as received, in order.
  std::vector<Json> requests() const;
  /// Waits until a request of that command has come; false at the deadline.
  bool wait_for_request(const std::string& command, Deadline deadline) const;
  /// (device, inode) of each fd received by SCM_RIGHTS, in order; the fds are closed.
  std::vector<std::pair<unsigned long, unsigned long>> received_files() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace qmp::testing
