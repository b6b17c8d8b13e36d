#include "qmp/sync_client.hpp"

#include <boost/asio/co_spawn.hpp>
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
  State(Fd fd, ClientOptions options)
      : client(context.get_executor(), fd.release(), std::move(options)),
        subscription(client.subscribe([this](const Event& event) {
          if (events.size() == kMaxKeptEvents) events.pop_front();
          events.push_back(event);
        })) {}

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

  asio::io_context context{1};
  std::deque<Event> events;
  Client client;
  Subscription subscription;
};

SyncClient::SyncClient(std::unique_ptr<State> state) : state_(std::move(state)) {}
SyncClient::SyncClient(int connected_fd, ClientOptions options)
    : state_(std::make_unique<State>(Fd(connected_fd), std::move(options))) {}
SyncClient::SyncClient(SyncClient&&) noexcept = default;
SyncClient& SyncClient::operator=(SyncClient&&) noexcept = default;
SyncClient::~SyncClient() = default;

SyncClient SyncClient::connect(const std::string& path, Deadline deadline, ClientOptions options) {
  return SyncClient(std::make_unique<State>(connect_unix(path, deadline), std::move(options)));
}

SyncClient SyncClient::connect_guest_agent(const std::string& path, Deadline deadline) {
  ClientOptions options;
  options.peer = Peer::guest_agent;
  SyncClient agent = connect(path, deadline, std::move(options));
  // Coroutines want a value to return here: see State::run().
  const auto synchronise = [](Client& client, Deadline until) -> asio::awaitable<int> {
    auto sync = client.sync_guest_agent(until);
    co_await std::move(sync);
    co_return 0;
  };
  agent.state_->run(synchronise(agent.state_->client, deadline));
  return agent;
}

Greeting SyncClient::handshake(Deadline deadline) {
  return state_->run(state_->client.handshake(deadline));
}

Json SyncClient::execute(std::string command, Json arguments, ExecuteOptions options) {
  return state_->run(
      state_->client.execute(std::move(command), std::move(arguments), std::move(options)));
}

std::vector<Outcome> SyncClient::execute_all(std::vector<Request> requests, Deadline deadline) {
  return state_->run(state_->client.execute_all(std::move(requests), deadline));
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
  Event arrived = state_->run(state_->client.wait_event(match, deadline));
  if (auto kept = take()) return std::move(*kept);
  return arrived;
}

bool SyncClient::is_open() const noexcept { return state_->client.is_open(); }
Client& SyncClient::client() noexcept { return state_->client; }

}  // namespace qmp
