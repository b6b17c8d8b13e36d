#include "qmp/client_core.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <random>
#include <stdexcept>
#include <system_error>

namespace qmp::detail {
namespace {

constexpr std::size_t kSmallRead = std::size_t{4} << 10;
constexpr std::size_t kLargeRead = std::size_t{64} << 10;
constexpr int kReadsPerWake = 16;  // then other connections of the loop get their turn
constexpr std::size_t kMaxMessagesPerSend = 16;
constexpr std::size_t kMostInBand = 8;  // qemu docs/interop/qmp-spec, "Out-of-band execution"
constexpr std::size_t kMaxWaiterQueue = 4096;
constexpr std::size_t kMaxFdsPerMessage = 253;  // linux include/net/scm.h, SCM_MAX_FD

std::string errno_text(int error_number) { return std::generic_category().message(error_number); }

std::string random_prefix() {
  std::random_device device;
  const std::uint32_t value = device() & 0xFFFFFFU;  // short: see IdUse
  char digits[16];
  const auto end = std::to_chars(digits, digits + sizeof digits, value, 16);
  return "v-" + std::string(digits, end.ptr);
}

ClientOptions completed(ClientOptions options) {
  if (options.id_prefix.empty()) options.id_prefix = random_prefix();
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  };
  if (!std::all_of(options.id_prefix.begin(), options.id_prefix.end(), plain)) {
    throw std::invalid_argument("a QMP id prefix takes letters, digits, '-', '_' and '.' only");
  }
  return options;
}

}  // namespace

bool WaiterCore::offer(const Event& event) {
  if (!match_(event)) return false;
  if (queue_.size() == kMaxWaiterQueue) queue_.pop_front();
  queue_.push_back(event);
  return true;
}

ClientCore::ClientCore(asio::any_io_executor executor, Fd fd, ClientOptions options)
    : options_(completed(std::move(options))),
      executor_(std::move(executor)),
      socket_(executor_),
      timer_(executor_),
      framer_(options_.limits) {
  socket_.assign(asio::local::stream_protocol(), fd.get());
  static_cast<void>(fd.release());
  socket_.native_non_blocking(true);
}

void ClientCore::start() { wait_readable(); }

void ClientCore::throw_closed() const {
  throw Error(open_ ? ErrorKind::closed : close_kind_, close_reason_);
}

// ---- sending ----

Token ClientCore::submit(std::string text, bool oob, const std::vector<int>& fds,
                         RawCallback callback, Deadline deadline) {
  const Token token = next_token_++;
  if (!open_) {
    fail_soon(std::move(callback), close_kind_, close_reason_);
    return token;
  }
  const bool anonymous = !oob && needs_no_id();
  if (!anonymous) {
    text += ",\"id\":\"";
    text += options_.id_prefix;
    text += '-';
    text += std::to_string(token);
    text += '"';
  }
  text += '}';
  // After fds not a byte: see fds_in_flight_.
  if (fds.empty()) text += '\n';
  if (queued_bytes_ + text.size() > options_.max_queued_bytes || fds.size() > kMaxFdsPerMessage) {
    fail_soon(std::move(callback), ErrorKind::too_large,
              "the queue of commands to QEMU is full: it does not read");
    return token;
  }
  if (anonymous) anonymous_.push_back(token);
  pending_.emplace(token, Pending{std::move(callback), deadline});
  add_deadline(deadline, token);
  if (options_.peer == Peer::guest_agent) agent_order_.push_back(token);

  queued_bytes_ += text.size();
  Outgoing message{std::move(text), 0, token, oob, fds, {}};
  // Out-of-band commands exist to overtake; only a half-sent message stays in front of them.
  const bool front_is_free = out_.empty() || out_.front().sent == 0;
  if (oob && !out_.empty()) {
    out_.insert(front_is_free ? out_.begin() : std::next(out_.begin()), std::move(message));
  } else {
    out_.push_back(std::move(message));
  }
  if (is_held_) return token;
  flush();
  if (!fds.empty()) keep_unsent_fds();
  return token;
}

bool ClientCore::needs_no_id() const {
  if (options_.peer != Peer::qemu || !answered_ || options_.ids == IdUse::always) return false;
  if (options_.ids == IdUse::when_unordered) return true;
  return anonymous_.empty() && pending_.empty();
}

void ClientCore::fail_soon(RawCallback callback, ErrorKind kind, std::string message) {
  asio::post(executor_, [callback = std::move(callback), error = Error(kind, message)] {
    callback(RawReply{RawReply::Kind::failed, {}, &error});
  });
}

void ClientCore::release() {
  is_held_ = false;
  flush();
  keep_unsent_fds();
}

// Those that the caller may close before QEMU reads on.
void ClientCore::keep_unsent_fds() {
  std::vector<std::pair<Token, std::string>> lost;
  for (Outgoing& message : out_) {
    if (message.sent > 0 || message.keep_fds.size() == message.fds.size()) continue;
    try {
      for (int& fd : message.fds) {
        message.keep_fds.push_back(duplicate(fd));
        fd = message.keep_fds.back().get();
      }
    } catch (const Error& error) {
      lost.emplace_back(message.token, error.what());
    }
  }
  // Still unsent: give_up() takes them out of the queue.
  for (const auto& [token, reason] : lost) give_up(token, ErrorKind::too_large, reason);
}

void ClientCore::send_bytes(std::string bytes) {
  queued_bytes_ += bytes.size();
  out_.push_back(Outgoing{std::move(bytes), 0, 0, false, {}, {}});
  flush();
}

void ClientCore::flush() {
  while (open_ && !is_held_ && !write_waits_ && !write_dead_ && !out_.empty() &&
         may_send(out_.front())) {
    if (!send_some()) return;
  }
}

bool ClientCore::may_send(const Outgoing& message) const {
  if (message.sent > 0) return true;
  if (fds_in_flight_ != 0) return false;
  return !oob_enabled_ || message.oob || in_band_.size() < kMostInBand;
}

// The first message and, of those behind it, what may go along.
bool ClientCore::send_some() {
  const Outgoing& front = out_.front();
  std::array<iovec, kMaxMessagesPerSend> parts;
  std::size_t count = 0;
  std::size_t in_band = in_band_.size();
  for (Outgoing& message : out_) {
    if (count == parts.size()) break;
    if (count > 0 && (!front.fds.empty() || !message.fds.empty())) break;
    if (oob_enabled_ && !message.oob && message.sent == 0 && ++in_band > kMostInBand) break;
    parts[count++] = {message.bytes.data() + message.sent, message.bytes.size() - message.sent};
  }
  msghdr header{};
  header.msg_iov = parts.data();
  header.msg_iovlen = count;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxFdsPerMessage)];
  const bool with_fds = front.sent == 0 && !front.fds.empty();
  if (with_fds) {
    const std::size_t bytes = sizeof(int) * front.fds.size();
    std::memset(control, 0, CMSG_SPACE(bytes));
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(bytes);
    cmsghdr* item = CMSG_FIRSTHDR(&header);
    item->cmsg_level = SOL_SOCKET;
    item->cmsg_type = SCM_RIGHTS;
    item->cmsg_len = CMSG_LEN(bytes);
    std::memcpy(CMSG_DATA(item), front.fds.data(), bytes);
  }
  const ssize_t sent = ::sendmsg(socket_.native_handle(), &header, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent < 0) {
    if (errno == EINTR) return true;
    if (errno != EAGAIN) {
      on_write_fault(errno);
      return false;
    }
    write_waits_ = true;
    socket_.async_wait(asio::local::stream_protocol::socket::wait_write,
                       [self = shared_from_this()](boost::system::error_code error) {
                         self->write_waits_ = false;
                         if (!error) self->flush();
                       });
    return false;
  }
  if (with_fds) fds_in_flight_ = front.token;
  auto left = static_cast<std::size_t>(sent);
  queued_bytes_ -= left;
  while (left > 0) {
    Outgoing& message = out_.front();
    if (oob_enabled_ && !message.oob) in_band_.insert(message.token);
    const std::size_t gone = std::min(left, message.bytes.size() - message.sent);
    message.sent += gone;
    left -= gone;
    if (message.sent == message.bytes.size()) out_.pop_front();
  }
  return true;
}

void ClientCore::on_write_fault(int error_number) {
  // What QEMU said before it left (SHUTDOWN, replies) may still be unread: read that first.
  write_dead_ = true;
  out_.clear();
  queued_bytes_ = 0;
  asio::post(executor_, [self = shared_from_this(), error_number] {
    while (self->open_ && self->read_once() == ReadResult::more) {
    }
    self->terminate(ErrorKind::closed, "cannot write to QEMU: " + errno_text(error_number));
  });
}

// ---- receiving ----

void ClientCore::wait_readable() {
  socket_.async_wait(asio::local::stream_protocol::socket::wait_read,
                     [self = shared_from_this()](boost::system::error_code error) {
                       if (!error && self->open_) self->on_readable();
                     });
}

void ClientCore::on_readable() {
  for (int i = 0; i < kReadsPerWake; ++i) {
    const ReadResult result = read_once();
    if (result == ReadResult::ended) return;
    if (result == ReadResult::drained) break;
  }
  wait_readable();
}

ClientCore::ReadResult ClientCore::read_once() {
  const auto room = framer_.prepare(framer_.at_boundary() ? kSmallRead : kLargeRead);
  const ssize_t got = ::recv(socket_.native_handle(), room.data(), room.size(), MSG_DONTWAIT);
  if (got < 0) {
    if (errno == EINTR) return ReadResult::more;
    if (errno == EAGAIN) return ReadResult::drained;
    terminate(ErrorKind::closed, "cannot read from QEMU: " + errno_text(errno));
    return ReadResult::ended;
  }
  if (got == 0) {
    terminate(ErrorKind::closed, framer_.at_boundary()
                                     ? "the QMP connection was closed by the other side"
                                     : "the QMP connection ended in the middle of a message");
    return ReadResult::ended;
  }
  framer_.commit(static_cast<std::size_t>(got));
  try {
    while (open_) {
      const auto message = framer_.next();
      if (!message) break;
      handle(*message);
    }
  } catch (const Error& error) {
    terminate(error.kind() == ErrorKind::too_large ? ErrorKind::too_large : ErrorKind::protocol,
              error.what());
  } catch (const Json::exception& error) {
    terminate(ErrorKind::protocol, std::string("malformed QMP message: ") + error.what());
  }
  if (!open_) return ReadResult::ended;
  return static_cast<std::size_t>(got) == room.size() ? ReadResult::more : ReadResult::drained;
}

void ClientCore::handle(std::string_view message) {
  const Envelope envelope = open_envelope(message);
  if (!envelope.returned.empty() || !envelope.error.empty()) {
    handle_reply(envelope);
  } else if (!envelope.event.empty()) {
    handle_event(message);
  } else if (!envelope.greeting.empty()) {
    greeting_ = Greeting::from_json(Json::parse(envelope.greeting));
    wake(greeting_wait_);
  } else {
    throw Error(ErrorKind::protocol, "a QMP message is neither greeting, reply nor event");
  }
}

std::optional<Token> ClientCore::token_of(std::string_view id) const {
  const std::size_t skip = options_.id_prefix.size() + 2;  // quote, prefix, hyphen
  if (id.size() < skip + 2 || id.front() != '"' || id.back() != '"' ||
      id.substr(1, options_.id_prefix.size()) != options_.id_prefix || id[skip - 1] != '-') {
    return std::nullopt;
  }
  Token token = 0;
  const char* end = id.data() + id.size() - 1;
  const auto result = std::from_chars(id.data() + skip, end, token);
  if (result.ec != std::errc{} || result.ptr != end) return std::nullopt;
  return token;
}

void ClientCore::handle_reply(const Envelope& envelope) {
  if (sync_number_) {
    if (envelope.returned != std::to_string(*sync_number_)) return;
    sync_number_.reset();
    wake(greeting_wait_);
    return;
  }
  std::optional<Token> token = token_of(envelope.id);
  if (options_.peer == Peer::guest_agent && !agent_order_.empty()) {
    if (!token && envelope.id.empty()) token = agent_order_.front();
    if (token) std::erase(agent_order_, *token);
  }
  if (!token && envelope.id.empty() && !anonymous_.empty()) {
    token = anonymous_.front();
    anonymous_.pop_front();
  }
  if (!token) return;  // a dead client's
  answered_ = true;
  if (*token == fds_in_flight_) fds_in_flight_ = 0;
  in_band_.erase(*token);
  const auto found = pending_.find(*token);
  if (found != pending_.end()) {
    const Pending done = std::move(found->second);
    pending_.erase(found);
    drop_deadline(done.deadline, *token);
    const bool refused = envelope.returned.empty();
    done.callback(RawReply{refused ? RawReply::Kind::error : RawReply::Kind::returned,
                           refused ? envelope.error : envelope.returned, nullptr});
  }
  if (!out_.empty()) flush();
}

void ClientCore::handle_event(std::string_view message) {
  Json json = Json::parse(message);
  Event event;
  event.name = json.at("event").get<std::string>();
  if (const auto data = json.find("data"); data != json.end()) event.data = std::move(*data);
  if (const auto stamp = json.find("timestamp"); stamp != json.end() && stamp->is_object()) {
    const auto number = [&](const char* key) {
      const auto value = stamp->find(key);
      const bool usable = value != stamp->end() && value->is_number_integer();
      return usable ? value->get<std::int64_t>() : std::int64_t{-1};
    };
    event.seconds = number("seconds");
    event.microseconds = number("microseconds");
  }
  // Waiters before handlers: a handler may end the connection. Both lists may change meanwhile.
  std::erase_if(waiters_, [](const std::weak_ptr<WaiterCore>& each) { return each.expired(); });
  const auto waiters = waiters_;
  for (const auto& weak : waiters) {
    const auto waiter = weak.lock();
    if (waiter && waiter->offer(event)) wake(waiter->wait_);
  }
  const auto subscribers = subscribers_;
  for (const auto& [number, handler] : subscribers) {
    if (subscribers_.contains(number)) (*handler)(event);
  }
}

// ---- waiting ----

asio::awaitable<void> ClientCore::suspend(Deadline deadline, std::shared_ptr<void> owner,
                                          Token* slot) {
  auto initiation = [self = shared_from_this(), deadline, slot,
                     owner = std::move(owner)](auto handler) {
    using HandlerType = decltype(handler);
    const Token token = self->next_token_++;
    auto shared = std::make_shared<HandlerType>(std::move(handler));
    const auto cancel_slot = asio::get_associated_cancellation_slot(*shared);
    const auto executor = asio::get_associated_executor(*shared, self->executor_);
    auto resume = [shared, executor](std::exception_ptr error) {
      // By post: whoever wakes is in the middle of something.
      asio::post(executor, [shared, error] { (*shared)(error); });
    };
    if (!self->open_) {
      resume(nullptr);
      return;
    }
    *slot = token;
    self->waits_.emplace(token, Wait{std::move(resume), deadline});
    self->add_deadline(deadline, token);
    if (auto usable = cancel_slot; usable.is_connected()) {
      usable.assign([weak = std::weak_ptr(self), token](asio::cancellation_type) {
        if (const auto core = weak.lock()) {
          core->give_up(token, ErrorKind::cancelled, "the wait was cancelled");
        }
      });
    }
  };
  const asio::use_awaitable_t<> completion{};
  return asio::async_initiate<const asio::use_awaitable_t<>, void(std::exception_ptr)>(
      std::move(initiation), completion);
}

void ClientCore::wake(Token token) {
  const auto found = waits_.find(token);
  if (found == waits_.end()) return;
  const Wait wait = std::move(found->second);
  waits_.erase(found);
  drop_deadline(wait.deadline, token);
  wait.resume(nullptr);
}

void ClientCore::give_up(Token token, ErrorKind kind, const std::string& message) {
  if (const auto found = pending_.find(token); found != pending_.end()) {
    Pending pending = std::move(found->second);
    pending_.erase(found);
    drop_deadline(pending.deadline, token);
    // Not sent at all yet: then it shall not be run either.
    const auto queued = std::find_if(out_.begin(), out_.end(), [&](const Outgoing& each) {
      return each.token == token && each.sent == 0;
    });
    if (queued != out_.end()) {
      queued_bytes_ -= queued->bytes.size();
      out_.erase(queued);
      std::erase(agent_order_, token);
      std::erase(anonymous_, token);
    }
    fail_soon(std::move(pending.callback), kind, message);
  } else if (const auto wait = waits_.find(token); wait != waits_.end()) {
    const Wait taken = std::move(wait->second);
    waits_.erase(wait);
    drop_deadline(taken.deadline, token);
    taken.resume(std::make_exception_ptr(Error(kind, message)));
  }
}

void ClientCore::expect_sync(std::int64_t number) {
  sync_number_ = number;
  agent_order_.clear();
}

void ClientCore::add_deadline(Deadline deadline, Token token) {
  if (deadline == kNoDeadline) return;
  deadlines_.emplace(deadline, token);
  arm_timer();
}

void ClientCore::drop_deadline(Deadline deadline, Token token) {
  // The timer stays armed: to let it run out once is cheaper than to set it for each command.
  if (deadline != kNoDeadline) deadlines_.erase({deadline, token});
}

void ClientCore::arm_timer() {
  if (!open_ || deadlines_.empty() || deadlines_.begin()->first >= armed_) return;
  armed_ = deadlines_.begin()->first;
  timer_.expires_at(armed_);
  timer_.async_wait([self = shared_from_this()](boost::system::error_code error) {
    if (!error) self->on_timer();
  });
}

void ClientCore::on_timer() {
  armed_ = kNoDeadline;
  const auto now = std::chrono::steady_clock::now();
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    const Token token = deadlines_.begin()->second;
    deadlines_.erase(deadlines_.begin());
    give_up(token, ErrorKind::timeout, "no answer before the deadline");
  }
  arm_timer();
}

void ClientCore::terminate(ErrorKind kind, const std::string& reason) {
  if (!open_) return;
  open_ = false;
  close_kind_ = kind;
  close_reason_ = reason;
  boost::system::error_code ignored;
  socket_.close(ignored);
  timer_.cancel();
  deadlines_.clear();
  out_.clear();
  queued_bytes_ = 0;
  // By post: callers are in the middle of something, and callbacks may do anything.
  asio::post(executor_, [self = shared_from_this(), pending = std::move(pending_),
                         error = Error(kind, reason)] {
    for (const auto& [token, each] : pending) {
      each.callback(RawReply{RawReply::Kind::failed, {}, &error});
    }
    const auto handlers = std::move(self->closed_handlers_);
    self->closed_handlers_.clear();
    if (self->silent_end_) return;
    for (const auto& handler : handlers) handler(error.what());
  });
  pending_.clear();
  const auto waits = std::move(waits_);
  waits_.clear();
  for (const auto& [token, each] : waits) each.resume(nullptr);
}

}  // namespace qmp::detail
