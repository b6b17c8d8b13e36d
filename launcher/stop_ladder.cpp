#include "launcher/stop_ladder.hpp"

#include <signal.h>

#include <algorithm>
#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "hostcfg/base/error.hpp"
#include "launcher/host_work.hpp"
#include "launcher/plan.hpp"
#include "qmp/error.hpp"

namespace vmrig {
namespace {

namespace asio = boost::asio;

constexpr std::chrono::seconds kCommandTimeout{5};
constexpr std::chrono::seconds kConnectTimeout{2};
constexpr std::chrono::seconds kKillTimeout{30};
constexpr std::chrono::milliseconds kClosingTime{500};

bool is_usable(const qmp::Client* monitor) { return monitor != nullptr && monitor->is_open(); }

// False when QEMU could not be told. A refusal counts as told: QEMU is there and listens.
asio::awaitable<bool> tell(qmp::Client& monitor, std::string command, qmp::Deadline deadline) {
  qmp::ExecuteOptions options;
  options.deadline = deadline;
  qmp::Json none = qmp::Json::object();
  try {
    (void)co_await monitor.execute(std::move(command), std::move(none), std::move(options));
  } catch (const qmp::Error& error) {
    co_return error.kind() == qmp::ErrorKind::command;
  }
  co_return true;
}

// Whether the guest can react to its power button; a paused one is continued for it. False for one
// that has panicked or powered off already, and stands still. Source: qemu qapi/run-state.json,
// RunState.
asio::awaitable<bool> make_ready(qmp::Client& monitor, qmp::Deadline deadline) {
  qmp::ExecuteOptions options;
  options.deadline = deadline;
  qmp::Json none = qmp::Json::object();
  qmp::Json answer;
  try {
    answer = co_await monitor.execute("query-status", std::move(none), std::move(options));
  } catch (const qmp::Error&) {
    co_return false;  // a deaf QEMU
  }
  if (answer.value("running", false)) co_return true;
  constexpr std::array<std::string_view, 3> kOver = {"shutdown", "guest-panicked",
                                                     "internal-error"};
  const std::string status = answer.value("status", std::string());
  if (std::find(kOver.begin(), kOver.end(), status) != kOver.end()) co_return false;
  (void)co_await tell(monitor, "cont", deadline);
  co_return true;
}

void ask_to_quit(qmp::Client& monitor, qmp::Deadline deadline) {
  // The reply may never come: QEMU resets the connection as it ends. The exit is what counts.
  monitor.execute_raw(
      qmp::Json{{"execute", "quit"}}, {}, [](const qmp::RawReply&) {}, deadline);
}

asio::awaitable<std::unique_ptr<qmp::Client>> take_monitor_over(const VmFolder& folder,
                                                                asio::any_io_executor executor) {
  const qmp::Deadline deadline = qmp::deadline_in(kConnectTimeout);
  try {
    Fd connection = folder.connect(kMonitorSocketName, deadline);
    auto monitor = std::make_unique<qmp::Client>(executor, connection.release());
    (void)co_await monitor->handshake(deadline);
    co_return monitor;
  } catch (const qmp::Error&) {
    co_return nullptr;  // a deaf QEMU can still be killed
  }
}

asio::awaitable<void> stop_without_supervisor(const VmFolder& folder, int pidfd,
                                              StopOptions options, StopBy& by) {
  const asio::any_io_executor executor = co_await asio::this_coro::executor;
  ExitWatch exit(executor, pidfd);
  const std::unique_ptr<qmp::Client> monitor = co_await take_monitor_over(folder, executor);
  by = co_await stop_qemu(monitor.get(), exit, pidfd, std::move(options));
}

}  // namespace

std::string_view stop_by_name(StopBy by) {
  static constexpr std::array<std::string_view, 3> kNames = {"powerdown", "quit", "kill"};
  return kNames.at(static_cast<std::size_t>(by));
}

asio::awaitable<StopBy> stop_qemu(qmp::Client* monitor, ExitWatch& exit, int pidfd,
                                  StopOptions options) {
  const auto climb = [&options](StopBy rung) {
    if (options.on_rung) options.on_rung(rung);
  };
  if (options.first == StopOptions::First::kPowerdown && is_usable(monitor)) {
    climb(StopBy::kPowerdown);
    const qmp::Deadline deadline = qmp::deadline_in(options.powerdown_timeout);
    const qmp::Deadline command_deadline = std::min(deadline, qmp::deadline_in(kCommandTimeout));
    // One that was told to stand still when its guest powers off would never end.
    const qmp::Subscription powered_off =
        monitor->subscribe([monitor, deadline, is_off = false](const qmp::Event& event) mutable {
          if (event.name == "STOP" && is_off) ask_to_quit(*monitor, deadline);
          is_off = is_off || event.name == "SHUTDOWN";
        });
    const bool told = co_await make_ready(*monitor, command_deadline) && is_usable(monitor) &&
                      co_await tell(*monitor, "system_powerdown", command_deadline);
    if (told && co_await exit.wait(deadline)) co_return StopBy::kPowerdown;
    // A QEMU that ends closes its monitor a moment before it is gone.
    if (!is_usable(monitor) && co_await exit.wait(qmp::deadline_in(kClosingTime))) {
      co_return StopBy::kPowerdown;
    }
  }
  if (exit.has_ended()) co_return StopBy::kPowerdown;
  if (is_usable(monitor)) {
    climb(StopBy::kQuit);
    const qmp::Deadline deadline = qmp::deadline_in(options.quit_timeout);
    ask_to_quit(*monitor, deadline);
    if (co_await exit.wait(deadline)) co_return StopBy::kQuit;
  }
  climb(StopBy::kKill);
  send_signal(pidfd, SIGKILL);
  if (!co_await exit.wait(qmp::deadline_in(kKillTimeout))) {
    // In uninterruptible sleep, in the kernel: nothing more can be done from here.
    throw Error({.status = ExitStatus::kTimeUp,
                 .operation = "kill QEMU",
                 .object = {},
                 .cause = "the kernel did not end it within 30 s",
                 .mend = "dmesg | tail: a device or file system of the host hangs"});
  }
  co_return StopBy::kKill;
}

StopBy stop_orphan(const StateRoot& root, const std::string& name, StopOptions options) {
  VmFolder folder = root.folder(name);
  const std::optional<VmEntry> entry = root.find(name);
  if (!entry || !entry->living()) {
    throw Error({.status = ExitStatus::kNoSuchVm,
                 .operation = "stop VM",
                 .object = name,
                 .cause = "it has ended already",
                 .mend = {}});
  }
  if (entry->supervisor_alive || !entry->state) {
    throw Error({.status = ExitStatus::kBusy,
                 .operation = "stop VM",
                 .object = name,
                 .cause = "its supervisor lives, and has to stop it",
                 .mend = {}});
  }
  StopBy by = StopBy::kPowerdown;
  if (const Fd pidfd = open_pidfd(entry->state->qemu)) {
    asio::io_context context(1);
    std::exception_ptr fault;
    asio::co_spawn(context, stop_without_supervisor(folder, pidfd.get(), std::move(options), by),
                   [&](std::exception_ptr thrown) { fault = std::move(thrown); });
    context.run();
    if (fault) std::rethrow_exception(fault);
  }
  // Under the lock, so that no start undoes the same journal meanwhile.
  const StateRoot::Lock lock = root.lock();
  if (!root.find(name)) return by;
  LinuxHost host;
  const UndoReport report = undo_host_steps(host, folder, lock);
  if (const std::string fault = unfinished(report); !fault.empty()) {
    throw Error({.operation = "put back what VM held of the host",
                 .object = name,
                 .cause = fault,
                 .mend = "vmrig recover"});
  }
  folder.remove();
  return by;
}

}  // namespace vmrig
