#include "qmp/server.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <chrono>
#include <system_error>
#include <utility>

#include "qmp/server_core.hpp"
#include "qmp/unix_socket.hpp"

namespace qmp {
namespace {

// How long to leave new clients alone when this process is out of fds or memory.
constexpr std::chrono::milliseconds kAcceptRetry{100};

Event stamped(Event event) {
  if (event.seconds != 0) return event;
  using namespace std::chrono;
  const auto now = duration_cast<microseconds>(system_clock::now().time_since_epoch()).count();
  event.seconds = now / 1'000'000;
  event.microseconds = now % 1'000'000;
  return event;
}

}  // namespace

Server::Core::Core(asio::any_io_executor executor, Fd listener, ServerOptions options)
    : executor_(std::move(executor)),
      options_(std::move(options)),
      listener_(executor_),
      retry_(executor_) {
  listener_.assign(listener.get());
  static_cast<void>(listener.release());
  listener_.native_non_blocking(true);
}

void Server::Core::set_upstream(Client& upstream) {
  upstream_ = &upstream;
  shutdown_seen_ = false;
  if (upstream.greeting()) version_ = upstream.greeting()->version;
  events_ = upstream.subscribe([weak = weak_from_this()](const Event& event) {
    if (const auto core = weak.lock()) {
      if (event.name == "SHUTDOWN") core->shutdown_seen_ = true;
      core->broadcast(event);
    }
  });
}

void Server::Core::stop() {
  boost::system::error_code ignored;
  listener_.close(ignored);
  retry_.cancel();
  events_.reset();
  upstream_ = nullptr;
  const auto sessions = sessions_;
  for (const auto& [number, session] : sessions) session->drop("");
}

void Server::Core::log(const std::string& message) const {
  if (options_.log) options_.log(message);
}

bool Server::Core::offers_oob() const noexcept { return upstream_ && upstream_->oob_enabled(); }

std::string Server::Core::greeting_line() const {
  Json capabilities = Json::array();
  if (offers_oob()) capabilities.push_back("oob");
  Json greeting = Json::object();
  greeting["QMP"] = Json{{"version", version_}, {"capabilities", std::move(capabilities)}};
  return detail::to_text(greeting) + "\r\n";
}

void Server::Core::wait_for_client() {
  listener_.async_wait(asio::posix::stream_descriptor::wait_read,
                       [weak = weak_from_this()](boost::system::error_code error) {
                         const auto core = weak.lock();
                         if (!error && core) core->accept_all();
                       });
}

void Server::Core::accept_all() {
  while (listener_.is_open()) {
    Fd fd(::accept4(listener_.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd) {
      admit(std::move(fd));
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno == EAGAIN) break;
    // Out of fds or memory: the connection stays in the backlog, so the socket stays readable.
    log("cannot accept a client: " + std::generic_category().message(errno));
    retry_.expires_after(kAcceptRetry);
    retry_.async_wait([weak = weak_from_this()](boost::system::error_code error) {
      const auto core = weak.lock();
      if (!error && core) core->accept_all();
    });
    return;
  }
  if (listener_.is_open()) wait_for_client();
}

bool Server::Core::may_connect(uid_t uid) const {
  return uid == 0 || uid == ::geteuid() ||
         std::find(options_.allowed_uids.begin(), options_.allowed_uids.end(), uid) !=
             options_.allowed_uids.end();
}

void Server::Core::admit(Fd fd) {
  try {
    const uid_t uid = peer_uid(fd.get());
    if (!may_connect(uid)) {
      log("refused a client of uid " + std::to_string(uid));
      return;
    }
    if (sessions_.size() >= options_.max_clients) {
      log("refused a client: " + std::to_string(sessions_.size()) + " are connected");
      return;
    }
    const std::uint64_t number = next_session_++;
    auto session = std::make_shared<Session>(shared_from_this(), std::move(fd), number);
    sessions_.emplace(number, session);
    session->start(greeting_line());
  } catch (const std::exception& error) {
    log(std::string("cannot serve a client: ") + error.what());
  }
}

void Server::Core::forget(std::uint64_t number) {
  sessions_.erase(number);
  if (sessions_.empty() && drained_) drained_->cancel();
}

void Server::Core::broadcast(const Event& event) {
  if (sessions_.empty()) return;
  const std::string text = detail::to_text(stamped(event).to_json()) + "\r\n";
  const auto sessions = sessions_;
  for (const auto& [number, session] : sessions) session->send_event(text);
}

void Server::Core::upstream_gone(Json shutdown_data) {
  boost::system::error_code ignored;
  listener_.close(ignored);
  retry_.cancel();
  events_.reset();
  upstream_ = nullptr;
  if (!shutdown_seen_) {
    shutdown_seen_ = true;
    Event event;
    event.name = "SHUTDOWN";
    event.data = std::move(shutdown_data);
    broadcast(event);
  }
  const std::string body = detail::error_body("GenericError", "QEMU is gone");
  const auto sessions = sessions_;
  for (const auto& [number, session] : sessions) session->finish(body);
}

Server::Server(asio::any_io_executor executor, int listening_fd, Client& upstream,
               ServerOptions options)
    : core_(std::make_shared<Core>(std::move(executor), Fd(listening_fd), std::move(options))) {
  core_->set_upstream(upstream);
  core_->start();
}

Server::~Server() { core_->stop(); }

void Server::add_command(std::string name, Handler handler) {
  core_->commands_[std::move(name)] = std::make_shared<Handler>(std::move(handler));
}

void Server::broadcast(const Event& event) { core_->broadcast(event); }

void Server::replace_upstream(Client& upstream) { core_->set_upstream(upstream); }

void Server::upstream_gone(Json shutdown_data) { core_->upstream_gone(std::move(shutdown_data)); }

asio::awaitable<void> Server::drained(Deadline deadline) {
  const auto core = core_;
  if (core->sessions_.empty()) co_return;
  core->drained_.emplace(core->executor_, deadline);
  boost::system::error_code ended;
  auto token = asio::redirect_error(asio::use_awaitable, ended);
  co_await core->drained_->async_wait(token);
}

std::size_t Server::client_count() const noexcept { return core_->sessions_.size(); }

}  // namespace qmp
