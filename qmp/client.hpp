#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "qmp/deadline.hpp"
#include "qmp/error.hpp"
#include "qmp/event.hpp"
#include "qmp/framing.hpp"
#include "qmp/json.hpp"

namespace qmp {

namespace asio = boost::asio;

/// What the other end of a Client speaks.
enum class Peer {
  qemu,         ///< Greets, wants qmp_capabilities, gives ids back.
  guest_agent,  ///< No greeting; old agents answer in order and without id.
};

/// Whether to enable out-of-band execution when QEMU offers it.
enum class OobUse { off, when_offered };

/// When commands carry an id. QEMU 5.2 to 10 reads its monitor byte by byte at 2 to 3 µs each, so
/// that an id costs as much as all the rest of a short command.
enum class IdUse {
  /// Only with exec-oob: for QEMU itself, which answers all else in the order of the commands.
  when_unordered,
  when_pipelined,  ///< Only beside another command under way; a reply without id is then certain.
  always,
};

/// When the handshake sends its command.
enum class Opening {
  after_greeting,  ///< So that what is no QMP socket is sent nothing.
  /// Before the greeting, and without a wait for the reply: for a socket that is known to be QMP.
  /// What is refused then shows with the first command. Where oob may be enabled, as
  /// after_greeting.
  at_once,
};

/// Settings of a Client.
struct ClientOptions {
  Peer peer = Peer::qemu;
  OobUse oob = OobUse::off;
  IdUse ids = IdUse::when_pipelined;
  Opening opening = Opening::after_greeting;
  /// Ids are "<prefix>-<number>". Empty: "v-<random>", so that replies to a dead client that had
  /// the same monitor before are not taken for ours.
  std::string id_prefix;
  FramingLimits limits;
  /// Bytes of commands that may wait for QEMU to read; more is refused with too_large.
  std::size_t max_queued_bytes = std::size_t{16} << 20;
};

/// QEMU's first message.
struct Greeting {
  int major = 0;
  int minor = 0;
  int micro = 0;
  std::string package;                    ///< The distribution's version text; may be empty.
  std::vector<std::string> capabilities;  ///< "oob" where offered.
  Json version;                           ///< QMP.version as received.

  bool offers(std::string_view capability) const;
  /// Throws Error (protocol) when `qmp`, the value of "QMP", is malformed.
  static Greeting from_json(const Json& qmp);
};

/// How one command is to be run.
struct ExecuteOptions {
  Deadline deadline = kNoDeadline;
  /// Send as exec-oob; needs oob_enabled().
  bool oob = false;
  /// Passed by SCM_RIGHTS with the command's first byte (getfd, add-fd). Borrowed: they must stay
  /// open until the call ends, the caller closes them. At most 253 (kernel's SCM_MAX_FD).
  std::vector<int> fds;
};

/// One command of a batch.
struct Request {
  std::string command;
  Json arguments = Json::object();
  std::vector<int> fds = {};  ///< As ExecuteOptions::fds.
};

/// What became of one command of a batch.
struct Outcome {
  Json value;                  ///< The "return" value; null when refused.
  std::optional<Error> error;  ///< Set when refused.

  bool ok() const noexcept { return !error.has_value(); }
};

/// A reply as raw JSON text; valid only during the callback.
struct RawReply {
  enum class Kind { returned, error, failed };
  Kind kind = Kind::failed;
  std::string_view body;           ///< Value of "return" or "error"; empty for failed.
  const Error* failure = nullptr;  ///< Set for failed: closed, timeout, cancelled, too_large.
};
using RawCallback = std::function<void(const RawReply&)>;

namespace detail {
class ClientCore;
class WaiterCore;
}  // namespace detail

/// Keeps an event handler registered for as long as it lives. May outlive the Client.
class Subscription {
 public:
  Subscription() = default;
  Subscription(Subscription&&) noexcept = default;
  Subscription& operator=(Subscription&& other) noexcept;
  ~Subscription();
  /// Ends the subscription early; the handler is not called after it.
  void reset() noexcept;

 private:
  friend class Client;
  Subscription(std::weak_ptr<detail::ClientCore> core, std::uint64_t number);
  std::weak_ptr<detail::ClientCore> core_;
  std::uint64_t number_ = 0;
};

/// One QMP connection, for one thread of `executor` (a single-threaded io_context or a strand):
/// every member has to be called from there. Commands are pipelined: each goes out at once, and
/// replies are matched by id in any order. Reads from construction on.
class Client {
 public:
  /// Takes ownership of `connected_fd`, a connected AF_UNIX stream socket; sets it non-blocking.
  Client(asio::any_io_executor executor, int connected_fd, ClientOptions options = {});
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  /// Closes; commands under way fail with kind closed.
  ~Client();

  /// Awaits the greeting, negotiates capabilities. Call once, before any other command.
  /// Throws Error: timeout, closed, protocol, command (capabilities refused).
  asio::awaitable<Greeting> handshake(Deadline deadline);

  /// guest-sync-delimited for Peer::guest_agent: drops what an earlier client left over.
  asio::awaitable<void> sync_guest_agent(Deadline deadline);

  /// Runs a command and returns its "return" value. Throws Error: command, closed, timeout (the
  /// late reply is discarded; QEMU may still run the command), cancelled (by Asio's cancellation).
  asio::awaitable<Json> execute(std::string command, Json arguments = Json::object(),
                                ExecuteOptions options = {});

  /// Sends all requests in one go and awaits all outcomes, in the requests' order. Refusals are
  /// outcomes; throws Error for everything else (closed, timeout).
  asio::awaitable<std::vector<Outcome>> execute_all(std::vector<Request> requests,
                                                    Deadline deadline = kNoDeadline);

  /// Passes `request` (an object with "execute" or "exec-oob", any "id" is replaced) through and
  /// gives the reply to `callback` without parsing it. Never calls back before it returns.
  /// `fds` are borrowed for the call only.
  void execute_raw(Json request, const std::vector<int>& fds, RawCallback callback,
                   Deadline deadline = kNoDeadline);

  /// Calls `handler` for each event, in order of arrival, from the executor.
  [[nodiscard]] Subscription subscribe(std::function<void(const Event&)> handler);

  /// The next event that matches and arrives after this call was first resumed. Where the event
  /// answers a command, make an EventWaiter before the command instead.
  asio::awaitable<Event> wait_event(EventMatch match, Deadline deadline);

  /// Calls `handler` once, when the connection ends by the peer, by a protocol fault or by
  /// close(); with the reason. Called soon when it has ended already. Not called by ~Client.
  void on_closed(std::function<void(const std::string& reason)> handler);

  /// Ends the connection; everything under way fails with kind closed.
  void close(const std::string& reason = "closed by this side");

  bool is_open() const noexcept;
  /// True when the handshake enabled out-of-band execution.
  bool oob_enabled() const noexcept;
  /// The greeting; empty before the handshake.
  const std::optional<Greeting>& greeting() const noexcept;
  asio::any_io_executor get_executor() const;

 private:
  friend class EventWaiter;
  std::shared_ptr<detail::ClientCore> core_;
};

/// Collects matching events from its construction on, so that none is lost between a command and
/// the wait for its consequence. May outlive the Client (next() then throws closed).
class EventWaiter {
 public:
  EventWaiter(Client& client, EventMatch match);
  EventWaiter(const EventWaiter&) = delete;
  EventWaiter& operator=(const EventWaiter&) = delete;
  ~EventWaiter();

  /// The oldest match that was not handed out yet. One call at a time. Throws Error: timeout,
  /// closed (after all matches were handed out), cancelled.
  asio::awaitable<Event> next(Deadline deadline);
  /// Matches waiting to be handed out. Beyond 4096 the oldest is dropped.
  std::size_t queued() const noexcept;

 private:
  std::shared_ptr<detail::WaiterCore> waiter_;
};

}  // namespace qmp
