#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "qmp/client.hpp"
#include "qmp/fd.hpp"
#include "qmp/framing.hpp"

namespace qmp::detail {

/// Numbers commands and waits of one connection; part of the id on the wire.
using Token = std::uint64_t;

/// The events that one EventWaiter has collected.
class WaiterCore {
 public:
  explicit WaiterCore(EventMatch match) : match_(std::move(match)) {}
  bool offer(const Event& event);

  EventMatch match_;
  std::deque<Event> queue_;
  std::weak_ptr<ClientCore> client_;
  Token wait_ = 0;  // the suspended next(), or 0
};

/// The connection itself; shared between a Client and the handlers under way.
class ClientCore : public std::enable_shared_from_this<ClientCore> {
 public:
  ClientCore(asio::any_io_executor executor, Fd fd, ClientOptions options);

  /// Begins to read; apart from construction because handlers need shared_from_this().
  void start();

  /// Queues one command; `text` is a JSON object without its last bracket and without an id.
  /// The callback is never called from within.
  Token submit(std::string text, bool oob, const std::vector<int>& fds, RawCallback callback,
               Deadline deadline);
  /// What is submitted while a Held lives goes out together, with its end: QEMU's threads wake
  /// once.
  class Held {
   public:
    explicit Held(ClientCore& core) : core_(core) { core_.is_held_ = true; }
    ~Held() { core_.release(); }
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;

   private:
    ClientCore& core_;
  };

  /// Completes a command or wait early; its late reply is discarded. Calls back by post().
  void give_up(Token token, ErrorKind kind, const std::string& message);

  /// Suspends until wake(*slot), the end of the connection, or the deadline (throws timeout).
  /// `owner` keeps `slot` alive meanwhile.
  asio::awaitable<void> suspend(Deadline deadline, std::shared_ptr<void> owner, Token* slot);
  void wake(Token token);

  /// Bytes that are no command (0xFF for the guest agent).
  void send_bytes(std::string bytes);
  /// Agent only: all replies are dropped until one returns `number`.
  void expect_sync(std::int64_t number);
  bool syncing() const noexcept { return sync_number_.has_value(); }

  void terminate(ErrorKind kind, const std::string& reason);
  bool is_open() const noexcept { return open_; }
  [[noreturn]] void throw_closed() const;

  const asio::any_io_executor& executor() const noexcept { return executor_; }

  // Plain state that Client reads and writes.
  ClientOptions options_;
  std::optional<Greeting> greeting_;
  Token greeting_wait_ = 0;
  bool oob_enabled_ = false;
  bool silent_end_ = false;  // ~Client: no on_closed handlers
  std::vector<std::function<void(const std::string&)>> closed_handlers_;
  std::map<std::uint64_t, std::shared_ptr<std::function<void(const Event&)>>> subscribers_;
  std::uint64_t next_subscriber_ = 1;
  std::vector<std::weak_ptr<WaiterCore>> waiters_;
  std::string close_reason_;

 private:
  struct Pending {
    RawCallback callback;
    Deadline deadline = kNoDeadline;
  };
  struct Wait {
    std::function<void(std::exception_ptr)> resume;
    Deadline deadline = kNoDeadline;
  };
  struct Outgoing {
    std::string bytes;
    std::size_t sent = 0;
    Token token = 0;
    bool oob = false;
    std::vector<int> fds;      // what is sent
    std::vector<Fd> keep_fds;  // our duplicates, once queued
  };

  bool needs_no_id() const;
  void fail_soon(RawCallback callback, ErrorKind kind, std::string message);
  void wait_readable();
  void on_readable();
  enum class ReadResult { drained, more, ended };
  ReadResult read_once();
  void handle(std::string_view message);
  void handle_reply(const Envelope& envelope);
  void handle_event(std::string_view message);
  std::optional<Token> token_of(std::string_view id) const;
  void release();
  void flush();
  bool may_send(const Outgoing& message) const;
  bool send_some();
  void on_write_fault(int error_number);
  void keep_unsent_fds();
  void add_deadline(Deadline deadline, Token token);
  void drop_deadline(Deadline deadline, Token token);
  void arm_timer();
  void on_timer();

  asio::any_io_executor executor_;
  asio::local::stream_protocol::socket socket_;
  asio::steady_timer timer_;
  Deadline armed_ = kNoDeadline;
  Framer framer_;
  bool open_ = true;
  bool is_held_ = false;
  bool write_waits_ = false;
  bool write_dead_ = false;
  ErrorKind close_kind_ = ErrorKind::closed;

  Token next_token_ = 1;
  std::map<Token, Pending> pending_;
  std::map<Token, Wait> waits_;
  std::set<std::pair<Deadline, Token>> deadlines_;
  std::deque<Outgoing> out_;
  std::size_t queued_bytes_ = 0;
  // Until it is answered nothing else goes out: QEMU keeps only the fds of the last message read,
  // and with oob reads on while it takes them, on another thread and without a lock (qemu
  // chardev/char-socket.c, tcp_chr_recv and tcp_get_msgfds).
  Token fds_in_flight_ = 0;
  // With oob: commands sent and not answered, given up or not. QEMU reads no further, not even
  // exec-oob, when it has eight of them to do.
  std::set<Token> in_band_;
  // Commands sent without an id whose replies are still to come, in their order, given up or not.
  std::deque<Token> anonymous_;
  // Before the first reply to us, replies to a dead client may come: no command goes without id.
  bool answered_ = false;

  std::deque<Token> agent_order_;  // guest agent: who is to be answered next
  std::optional<std::int64_t> sync_number_;
};

}  // namespace qmp::detail
