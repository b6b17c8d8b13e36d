#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "qmp/fd.hpp"
#include "qmp/server.hpp"
#include "qmp/server_request.hpp"

namespace qmp {

/// What all sessions share.
class Server::Core : public std::enable_shared_from_this<Server::Core> {
 public:
  Core(asio::any_io_executor executor, Fd listener, ServerOptions options);

  void set_upstream(Client& upstream);
  void start() { wait_for_client(); }
  void stop();
  void broadcast(const Event& event);
  void upstream_gone(Json shutdown_data);
  void forget(std::uint64_t number);
  void log(const std::string& message) const;
  /// Greeting line for a new client.
  std::string greeting_line() const;
  bool offers_oob() const noexcept;

  const asio::any_io_executor executor_;
  const ServerOptions options_;
  std::map<std::string, std::shared_ptr<Handler>> commands_;
  Client* upstream_ = nullptr;
  std::map<std::uint64_t, std::shared_ptr<Session>> sessions_;
  std::optional<asio::steady_timer> drained_;  // cancelled when the last session goes

 private:
  void wait_for_client();
  void accept_all();
  void admit(Fd fd);
  bool may_connect(uid_t uid) const;

  asio::posix::stream_descriptor listener_;
  asio::steady_timer retry_;
  Subscription events_;
  Json version_;
  bool shutdown_seen_ = false;
  std::uint64_t next_session_ = 1;
};

/// One client's connection.
class Server::Session : public std::enable_shared_from_this<Server::Session> {
 public:
  Session(std::shared_ptr<Core> core, Fd fd, std::uint64_t number);

  /// Sends the greeting and begins to read.
  void start(const std::string& greeting);
  /// An event's line; dropped before the negotiation is done.
  void send_event(std::string_view text);
  /// Answers what waits for QEMU with an error and closes once all is read.
  void finish(const std::string& error_body_text);
  /// Closes at once. A reason is logged.
  void drop(const std::string& reason);

 private:
  using ClientRequest = detail::ClientRequest;
  /// A command under way; replies leave in the order of the slots.
  struct Slot {
    std::string id;
    bool upstream = false;
    std::optional<std::string> line;
  };
  using SlotNumber = std::uint64_t;

  void wait_readable();
  void on_readable();
  bool receive();
  void process();
  void handle(std::string_view message);
  void negotiate(const ClientRequest& request, SlotNumber slot);
  void forward(const ClientRequest& request, SlotNumber slot);
  void run_own(const std::shared_ptr<Handler>& handler, Json arguments, SlotNumber slot);
  std::string upstream_line(const RawReply& reply, const std::string& id, bool list_own) const;
  SlotNumber open_slot(const ClientRequest& request);
  void refuse(SlotNumber slot, const std::string& error_class, const std::string& desc);
  void complete(SlotNumber slot, std::string line);
  void send(std::string_view text);
  void flush();
  void close_when_done();

  std::shared_ptr<Core> core_;
  asio::posix::stream_descriptor socket_;
  const std::uint64_t number_;
  Framer framer_;
  std::vector<Fd> fds_;  // received, waiting for getfd or add-fd
  std::map<SlotNumber, Slot> oob_;
  std::deque<Slot> slots_;
  SlotNumber first_slot_ = 0;  // number of slots_.front()
  SlotNumber next_oob_ = SlotNumber{1} << 63;
  std::string out_;
  std::size_t out_sent_ = 0;
  std::size_t queued_event_bytes_ = 0;  // at most: since nothing waited last
  bool negotiated_ = false;
  bool oob_enabled_ = false;
  bool open_ = true;
  bool write_waits_ = false;
  bool read_waits_ = false;
  bool paused_ = false;     // too many commands under way
  bool finishing_ = false;  // nothing is read any more
};

}  // namespace qmp
