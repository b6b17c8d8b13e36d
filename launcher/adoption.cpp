#include "launcher/adoption.hpp"

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "hostcfg/base/error.hpp"
#include "launcher/plan.hpp"
#include "qmp/error.hpp"

namespace vmrig {

namespace asio = boost::asio;

namespace {

Error no_answer(const std::string& vm, const std::string& cause) {
  return Error(
      {.operation = "take over VM", .object = vm, .cause = cause, .mend = "vmrig stop " + vm});
}

}  // namespace

asio::awaitable<Session> take_over(asio::io_context& context, const VmFolder& folder,
                                   VmState& state, std::function<void(const qmp::Event&)> on_event,
                                   qmp::Deadline deadline) {
  Session session;
  session.child.identity = state.qemu;
  session.child.pidfd = open_pidfd(state.qemu);
  if (!session.child.pidfd) throw no_answer(state.name, "its QEMU has ended meanwhile");
  session.exit = std::make_unique<ExitWatch>(context.get_executor(), session.child.pidfd.get());
  std::optional<qmp::Error> fault;
  try {
    Fd connection = folder.connect(kMonitorSocketName, deadline);
    qmp::ClientOptions options = monitor_options();
    // A reply without an id could be to a command of the dead supervisor's.
    options.ids = qmp::IdUse::always;
    session.monitor = std::make_unique<qmp::Client>(context.get_executor(), connection.release(),
                                                    std::move(options));
    session.events = session.monitor->subscribe(std::move(on_event));
    (void)co_await session.monitor->handshake(deadline);
    qmp::ExecuteOptions execute;
    execute.deadline = deadline;
    qmp::Json none = qmp::Json::object();
    const qmp::Json status =
        co_await session.monitor->execute("query-status", std::move(none), std::move(execute));
    session.found = status.value("status", std::string());
    state.state = status.value("running", false) ? RunState::kRunning : RunState::kPaused;
    if (!state.serial_sockets.empty()) {
      session.console = folder.connect(state.serial_sockets.front(), deadline);
    }
  } catch (const qmp::Error& error) {
    fault = error;
  }
  if (fault) throw no_answer(state.name, fault->what());
  session.threads = state.threads;
  co_return session;
}

}  // namespace vmrig
