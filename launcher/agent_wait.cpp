#include "launcher/agent_wait.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

#include "qmp/client.hpp"
#include "qmp/error.hpp"

namespace vmrig {

namespace asio = boost::asio;

namespace {

// A request waits in the socket until the guest opens the port; but what a guest that reboots has
// taken with it is never answered.
constexpr std::chrono::seconds kAskAgain{5};
constexpr std::chrono::milliseconds kPause{200};
constexpr qmp::FramingLimits kLimits{std::size_t{256} << 10, 64};

asio::awaitable<bool> asked(const VmFolder& folder, const std::string& socket,
                            qmp::Deadline deadline) {
  const asio::any_io_executor executor = co_await asio::this_coro::executor;
  qmp::ClientOptions options;
  options.peer = qmp::Peer::guest_agent;
  options.limits = kLimits;
  try {
    Fd connection = folder.connect(socket, deadline);
    qmp::Client agent(executor, connection.release(), std::move(options));
    co_await agent.sync_guest_agent(deadline);
    qmp::ExecuteOptions execute;
    execute.deadline = deadline;
    qmp::Json none = qmp::Json::object();
    (void)co_await agent.execute("guest-ping", std::move(none), std::move(execute));
  } catch (const qmp::Error& fault) {
    // An agent that refuses to be pinged is there, too.
    co_return fault.kind() == qmp::ErrorKind::command;
  }
  co_return true;
}

}  // namespace

std::string agent_socket(const VmConfig& config) {
  for (const ChannelConfig& channel : config.channels) {
    if (channel.name == kAgentChannel) return channel_socket_name(channel.id);
  }
  return {};
}

asio::awaitable<bool> wait_for_agent(const VmFolder& folder, const std::string& socket,
                                     ExitWatch& exit, qmp::Deadline deadline) {
  while (!exit.has_ended() && std::chrono::steady_clock::now() < deadline) {
    const bool has_answered =
        co_await asked(folder, socket, std::min(deadline, qmp::deadline_in(kAskAgain)));
    if (has_answered) co_return true;
    // Not at once: a guest that sends garbage as fast as it can gets no more than its turn.
    (void)co_await exit.wait(std::min(deadline, qmp::deadline_in(kPause)));
  }
  co_return false;
}

}  // namespace vmrig
