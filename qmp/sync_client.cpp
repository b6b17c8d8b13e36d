#include "qmp/sync_client.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <deque>
#include <exception>
#include <optional>
#include <utility>

#include "qmp/unix_socket.hpp"

namespace qmp {
namespace {

constexpr std::size_t kMaxKeptEvents = 4096;

}  // namespace

struct SyncClient::State {
  State(Fd fd, ClientOptions client_options, std::string socket_path)
      : options(std::move(client_options)), path(std::move(socket_path)) {
    attach(std::move(fd));
  }

  void attach(Fd fd) {
    subscription.reset();
    client.emplace(context.get_executor(), fd.release(), options);
    subscription = client->subscribe([this](const Event& event) {
      if (events.size() == kMaxKeptEvents) events.pop_front();
      events.push_back(event);
    });
  }

  /// What makes a new connection usable.
  void greet(Deadline deadline) {
    if (options.peer == Peer::qemu) {
      run(client->handshake(deadline));
      return;
    }
    // Coroutines want a value to return here: see run().
    const auto synchronise = [](Client& agent, Deadline until) -> asio::awaitable<int> {
      auto sync = agent.sync_guest_agent(until);
      co_await std::move(sync);
      co_return 0;
    };
    run(synchronise(*client, deadline));
  }

  /// Runs the loop until `operation` is done; only then does the loop run at all.
  template <typename T>
  T run(asio::awaitable<T> operation) {
    std::optional<T> result;
    std::exception_ptr failure;
    bool done = false;
    asio::co_spawn(context, std::move(operation), [&](std::exception_ptr error, T value) {
      failure = error;
      result.emplace(std::move(value));
      done = true;
    });
    context.restart();
    while (!done) context.run_one();
    if (failure) std::rethrow_exception(failure);
    return std::move(*result);
  }

  const ClientOptions options;
  const std::string path;  // empty where it is not known
  asio::io_context context{1};
  std::deque<Event> events;
  std::optional<Client> client;
  Subscription subscription;
};

SyncClient::SyncClient(std::unique_ptr<State> state) : state_(std::move(state)) {}
SyncClient::SyncClient(int connected_fd, ClientOptions options)
    : state_(std::make_unique<State>(Fd(connected_fd), std::move(options), std::string())) {}
SyncClient::SyncClient(SyncClient&&) noexcept = default;
SyncClient& SyncClient::operator=(SyncClient&&) noexcept = default;
SyncClient::~SyncClient() = default;

SyncClient SyncClient::connect(const std::string& path, Deadline deadline, ClientOptions options) {
  Fd fd = connect_unix(path, deadline);
  return SyncClient(std::make_unique<State>(std::move(fd), std::move(options), path));
}

SyncClient SyncClient::connect_guest_agent(const std::string& path, Deadline deadline) {
  ClientOptions options;
  options.peer = Peer::guest_agent;
  SyncClient agent = connect(path, deadline, std::move(options));
  agent.state_->greet(deadline);
  return agent;
}

void SyncClient::reconnect(Deadline deadline) {
  if (state_->path.empty()) {
    throw Error(ErrorKind::closed, "cannot reconnect: the client was made from a connected socket");
  }
  // The old connection first: the other end may take one client at a time.
  state_->client->close("closed to reconnect");
  state_->attach(connect_unix(state_->path, deadline));
  state_->greet(deadline);
}

Greeting SyncClient::handshake(Deadline deadline) {
  return state_->run(state_->client->handshake(deadline));
}

Json SyncClient::execute(std::string command, Json arguments, ExecuteOptions options) {
  return state_->run(
      state_->client->execute(std::move(command), std::move(arguments), std::move(options)));
}

std::vector<Outcome> SyncClient::execute_all(std::vector<Request> requests, Deadline deadline) {
  return state_->run(state_->client->execute_all(std::move(requests), deadline));
}

Event SyncClient::wait_event(const EventMatch& match, Deadline deadline) {
  auto& events = state_->events;
  const auto take = [&]() -> std::optional<Event> {
    for (auto each = events.begin(); each != events.end(); ++each) {
      if (!match(*each)) continue;
      Event event = std::move(*each);
      events.erase(each);
      return event;
    }
    return std::nullopt;
  };
  if (auto kept = take()) return std::move(*kept);
  // The waiter sees the event before the subscription keeps it: wait by the one, take from the
  // other, so that it is handed out once.
  Event arrived = state_->run(state_->client->wait_event(match, deadline));
  if (auto kept = take()) return std::move(*kept);
  return arrived;
}

void SyncClient::run_until(const std::function<bool()>& done) {
  const auto work = asio::make_work_guard(state_->context);
  state_->context.restart();
  while (!done()) state_->context.run_one();
}

bool SyncClient::is_open() const noexcept { return state_->client->is_open(); }
Client& SyncClient::client() noexcept { return *state_->client; }

}  // namespace qmp
