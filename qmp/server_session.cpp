#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <cstring>
#include <set>
#include <system_error>
#include <utility>

#include "qmp/server_core.hpp"

namespace qmp {
namespace {

using detail::ClientRequest;
using detail::OobState;

constexpr std::size_t kReadBytes = std::size_t{4} << 10;
constexpr std::size_t kKeepBytes = std::size_t{16} << 10;  // of the output buffer
constexpr std::size_t kMaxReceivedFds = 64;

std::string errno_text() { return std::generic_category().message(errno); }

/// Runs a command of our own; every exception becomes an error for the client.
asio::awaitable<std::string> own_line(std::shared_ptr<Handler> handler, Json arguments,
                                      std::string id) {
  std::string body;
  try {
    auto running = (*handler)(std::move(arguments));
    const Json value = co_await std::move(running);
    co_return detail::return_line(detail::to_text(value), id);
  } catch (const Error& error) {
    const bool refused = error.kind() == ErrorKind::command;
    body = detail::error_body(refused ? error.error_class() : "GenericError",
                              refused ? error.desc() : std::string(error.what()));
  } catch (const std::exception& error) {
    body = detail::error_body("GenericError", error.what());
  }
  co_return detail::error_line(body, id);
}

}  // namespace

Server::Session::Session(std::shared_ptr<Core> core, Fd fd, std::uint64_t number)
    : core_(std::move(core)),
      socket_(core_->executor_),
      number_(number),
      framer_(core_->options_.limits) {
  socket_.assign(fd.get());
  static_cast<void>(fd.release());
}

void Server::Session::start(const std::string& greeting) {
  send(greeting);
  if (open_) wait_readable();
}

void Server::Session::drop(const std::string& reason) {
  if (!open_) return;
  open_ = false;
  boost::system::error_code ignored;
  socket_.close(ignored);
  fds_.clear();
  if (!reason.empty()) core_->log("dropped QMP client " + std::to_string(number_) + ": " + reason);
  core_->forget(number_);
}

// ---- input ----

void Server::Session::wait_readable() {
  if (!open_ || finishing_ || paused_ || read_waits_) return;
  read_waits_ = true;
  socket_.async_wait(asio::posix::stream_descriptor::wait_read,
                     [self = shared_from_this()](boost::system::error_code error) {
                       self->read_waits_ = false;
                       if (!error && self->open_) self->on_readable();
                     });
}

void Server::Session::on_readable() {
  if (finishing_ || paused_) return;
  if (!receive()) return;
  process();
  wait_readable();
}

/// One read; false when the session ended.
bool Server::Session::receive() {
  const auto room = framer_.prepare(kReadBytes);
  iovec part{room.data(), room.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxReceivedFds)];
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  const ssize_t got = ::recvmsg(socket_.native_handle(), &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (got < 0) {
    if (errno == EAGAIN || errno == EINTR) return true;
    drop(errno == ECONNRESET ? std::string() : "cannot read: " + errno_text());
    return false;
  }
  bool first = true;
  for (cmsghdr* item = CMSG_FIRSTHDR(&header); item != nullptr; item = CMSG_NXTHDR(&header, item)) {
    if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_RIGHTS) continue;
    // As QEMU does: a later set replaces one that no command has taken.
    if (first) fds_.clear();
    first = false;
    const std::size_t count = (item->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(item) + i * sizeof(int), sizeof fd);
      fds_.emplace_back(fd);
    }
  }
  if (got == 0) {
    drop("");
    return false;
  }
  framer_.commit(static_cast<std::size_t>(got));
  return true;
}

void Server::Session::process() {
  while (open_ && !finishing_) {
    if (slots_.size() + oob_.size() >= core_->options_.max_pending_commands) {
      paused_ = true;
      return;
    }
    try {
      const auto message = framer_.next();
      if (!message) break;
      handle(*message);
    } catch (const Error& error) {
      send(detail::error_line(
          detail::error_body("GenericError", std::string("JSON parse error, ") + error.what()),
          {}));
      if (error.kind() == ErrorKind::too_large) {
        drop(error.what());
        return;
      }
      framer_.resync();
    }
  }
  // fds belong to the message that they came with; its first byte has been read with them.
  if (framer_.at_boundary()) fds_.clear();
}

void Server::Session::handle(std::string_view message) {
  ClientRequest request =
      detail::parse_request(message, oob_enabled_ ? OobState::enabled : OobState::disabled);
  const SlotNumber slot = open_slot(request);
  if (!request.fault.empty()) {
    refuse(slot, "GenericError", request.fault);
    return;
  }
  if (request.command == "qmp_capabilities" || !negotiated_) {
    negotiate(request, slot);
    return;
  }
  if (const auto own = core_->commands_.find(request.command); own != core_->commands_.end()) {
    run_own(own->second, std::move(request.arguments), slot);
    return;
  }
  forward(request, slot);
}

void Server::Session::negotiate(const ClientRequest& request, SlotNumber slot) {
  // Words and classes are QEMU's own (qemu monitor/qmp.c, monitor/qmp-cmds-control.c).
  if (negotiated_) {
    refuse(slot, "CommandNotFound",
           "Capabilities negotiation is already complete, command ignored");
    return;
  }
  if (request.command != "qmp_capabilities") {
    refuse(slot, "CommandNotFound", "Expecting capabilities negotiation with 'qmp_capabilities'");
    return;
  }
  const Json enable = request.arguments.value("enable", Json::array());
  bool oob = false;
  if (!enable.is_array()) {
    refuse(slot, "GenericError", "Invalid parameter type for 'enable', expected: array");
    return;
  }
  for (const Json& each : enable) {
    if (each != "oob" || !core_->offers_oob()) {
      refuse(slot, "GenericError",
             "Capability " + detail::to_text(each) + " is unknown or not available");
      return;
    }
    oob = true;
  }
  negotiated_ = true;
  oob_enabled_ = oob;
  complete(slot, detail::return_line("{}", request.id));
}

void Server::Session::forward(const ClientRequest& request, SlotNumber slot) {
  Client* const upstream = core_->upstream_;
  if (upstream == nullptr || !upstream->is_open()) {
    refuse(slot, "GenericError", "QEMU is gone");
    return;
  }
  const bool list_own = request.command == "query-commands";
  std::vector<int> numbers;
  std::vector<Fd> sent;
  if (request.command == "getfd" || request.command == "add-fd") {
    sent = std::move(fds_);
    fds_.clear();
    for (const Fd& fd : sent) numbers.push_back(fd.get());
    // QEMU would give it the fd of a command behind it, which it has read already.
    if (sent.empty()) {
      refuse(slot, "GenericError", "No file descriptor supplied via SCM_RIGHTS");
      return;
    }
  }
  const auto& watched = core_->options_.watched_commands;
  const bool is_watched =
      std::find(watched.begin(), watched.end(), request.command) != watched.end();
  auto reply_to = [weak = weak_from_this(), slot, id = request.id, list_own,
                   core = std::weak_ptr<Core>(core_),
                   told = is_watched ? request.command : std::string()](const RawReply& reply) {
    const auto server = told.empty() ? nullptr : core.lock();
    if (server && reply.kind == RawReply::Kind::returned && server->options_.on_watched) {
      server->options_.on_watched(told);
    }
    const auto self = weak.lock();
    if (self && self->open_) self->complete(slot, self->upstream_line(reply, id, list_own));
  };
  upstream->execute_raw(request.upstream(), numbers, std::move(reply_to));
}

std::string Server::Session::upstream_line(const RawReply& reply, const std::string& id,
                                           bool list_own) const {
  switch (reply.kind) {
    case RawReply::Kind::error:
      return detail::error_line(reply.body, id);
    case RawReply::Kind::failed:
      return detail::error_line(
          detail::error_body("GenericError",
                             std::string("QEMU gave no answer: ") + reply.failure->what()),
          id);
    case RawReply::Kind::returned:
      break;
  }
  if (!list_own) return detail::return_line(reply.body, id);
  Json list = Json::parse(reply.body, nullptr, /*allow_exceptions=*/false);
  if (!list.is_array()) return detail::return_line(reply.body, id);
  std::set<std::string> known;
  for (const Json& each : list) {
    if (each.is_object() && each.contains("name") && each["name"].is_string()) {
      known.insert(each["name"].get<std::string>());
    }
  }
  for (const auto& [name, handler] : core_->commands_) {
    if (!known.contains(name)) list.push_back(Json{{"name", name}});
  }
  return detail::return_line(detail::to_text(list), id);
}

void Server::Session::run_own(const std::shared_ptr<Handler>& handler, Json arguments,
                              SlotNumber slot) {
  const auto found = oob_.find(slot);
  const Slot& entry =
      found != oob_.end() ? found->second : slots_[static_cast<std::size_t>(slot - first_slot_)];
  auto running = own_line(handler, std::move(arguments), entry.id);
  asio::co_spawn(core_->executor_, std::move(running),
                 [weak = weak_from_this(), slot](std::exception_ptr error, std::string line) {
                   const auto self = weak.lock();
                   if (!error && self && self->open_) self->complete(slot, std::move(line));
                 });
}

// ---- output ----

Server::Session::SlotNumber Server::Session::open_slot(const ClientRequest& request) {
  Slot slot{request.id, negotiated_ && !core_->commands_.contains(request.command), {}};
  if (request.oob) {
    oob_.emplace(next_oob_, std::move(slot));
    return next_oob_++;
  }
  slots_.push_back(std::move(slot));
  return first_slot_ + slots_.size() - 1;
}

void Server::Session::refuse(SlotNumber slot, const std::string& error_class,
                             const std::string& desc) {
  const auto found = oob_.find(slot);
  const std::string id = found != oob_.end()
                             ? found->second.id
                             : slots_[static_cast<std::size_t>(slot - first_slot_)].id;
  complete(slot, detail::error_line(detail::error_body(error_class, desc), id));
}

void Server::Session::complete(SlotNumber slot, std::string line) {
  if (oob_.erase(slot) > 0) {
    send(line);
  } else {
    // A slot below the first was answered already (upstream_gone() came before the late reply).
    if (slot < first_slot_ || slot - first_slot_ >= slots_.size()) return;
    Slot& entry = slots_[static_cast<std::size_t>(slot - first_slot_)];
    if (entry.line) return;
    entry.line = std::move(line);
    while (open_ && !slots_.empty() && slots_.front().line) {
      const std::string text = std::move(*slots_.front().line);
      slots_.pop_front();
      ++first_slot_;
      send(text);
    }
  }
  if (!open_) return;
  if (paused_) {
    paused_ = false;
    // By post: this may be called from process() itself, through a command refused at once.
    asio::post(core_->executor_, [self = shared_from_this()] {
      self->process();
      self->wait_readable();
    });
  }
  close_when_done();
}

void Server::Session::send_event(std::string_view text) {
  if (!negotiated_) return;
  if (out_.empty()) queued_event_bytes_ = 0;
  const std::size_t waiting = std::min(queued_event_bytes_, out_.size() - out_sent_);
  if (waiting + text.size() > core_->options_.max_queued_event_bytes) {
    drop("it does not read its events");
    return;
  }
  send(text);
  if (!out_.empty()) queued_event_bytes_ += text.size();
}

void Server::Session::send(std::string_view text) {
  if (!open_) return;
  if (out_.size() - out_sent_ + text.size() > core_->options_.max_queued_bytes) {
    drop("it does not read what it asked for");
    return;
  }
  std::size_t sent = 0;
  if (out_.empty()) {
    const ssize_t n =
        ::send(socket_.native_handle(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
      drop(errno == EPIPE || errno == ECONNRESET ? std::string() : "cannot write: " + errno_text());
      return;
    }
    sent = n < 0 ? 0 : static_cast<std::size_t>(n);
    if (sent == text.size()) return;
  }
  out_.append(text.substr(sent));
  flush();
}

void Server::Session::flush() {
  while (open_ && !write_waits_ && out_sent_ < out_.size()) {
    const ssize_t n = ::send(socket_.native_handle(), out_.data() + out_sent_,
                             out_.size() - out_sent_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) {
      out_sent_ += static_cast<std::size_t>(n);
    } else if (errno == EAGAIN) {
      write_waits_ = true;
      socket_.async_wait(asio::posix::stream_descriptor::wait_write,
                         [self = shared_from_this()](boost::system::error_code error) {
                           self->write_waits_ = false;
                           if (!error) self->flush();
                         });
    } else if (errno != EINTR) {
      drop(errno == EPIPE || errno == ECONNRESET ? std::string() : "cannot write: " + errno_text());
      return;
    }
  }
  if (out_sent_ == out_.size()) {
    out_.clear();
    out_sent_ = 0;
    if (out_.capacity() > kKeepBytes) out_.shrink_to_fit();
    close_when_done();
  } else if (out_sent_ > out_.size() / 2) {
    out_.erase(0, out_sent_);
    out_sent_ = 0;
  }
}

void Server::Session::finish(const std::string& error_body_text) {
  finishing_ = true;
  // Copies of the numbers: complete() changes both containers.
  std::vector<std::pair<SlotNumber, std::string>> waiting;
  for (const auto& [number, slot] : oob_) {
    if (slot.upstream) waiting.emplace_back(number, slot.id);
  }
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].upstream && !slots_[i].line) waiting.emplace_back(first_slot_ + i, slots_[i].id);
  }
  for (const auto& [number, id] : waiting)
    complete(number, detail::error_line(error_body_text, id));
  close_when_done();
}

void Server::Session::close_when_done() {
  if (finishing_ && open_ && slots_.empty() && oob_.empty() && out_.empty()) drop("");
}

}  // namespace qmp
