// The supervisor: from a plan to a guest that runs, or from a QEMU that has lost its supervisor.
#include <fmt/format.h>

#include <boost/asio/use_awaitable.hpp>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "launcher/agent_wait.hpp"
#include "launcher/idle_memory.hpp"
#include "launcher/launch_recipe.hpp"
#include "launcher/vm_supervisor.hpp"

namespace vmrig {

namespace asio = boost::asio;

namespace {

constexpr int kServerBacklog = 64;
constexpr std::chrono::seconds kReconnectTimeout{5};
// Between two words about memory that is being populated.
constexpr std::chrono::seconds kPatience{60};

Error no_sign(const std::string& operation, const std::string& object, bool has_ended) {
  return Error({.status = has_ended ? ExitStatus::kFailed : ExitStatus::kTimeUp,
                .operation = operation,
                .object = object,
                .cause = has_ended ? "the VM ended before" : "time is up; the VM was ended",
                .mend = {}});
}

}  // namespace

asio::awaitable<void> VmSupervisor::start() {
  watch_log();
  co_await host_.prepare(request_->plan, folder());
  access_watch_.look_after(coming_sockets(state_));
  std::optional<Fd> qmp_socket;
  std::optional<Fd> console_socket;
  std::function<void()> meanwhile = [&] {
    qmp_socket = folder().listen(kQmpSocketName, kServerBacklog);
    if (!state_.serial_sockets.empty()) {
      console_socket = folder().listen(kConsoleSocketName, kServerBacklog);
    }
  };
  co_await launch_qemu(options_.first, std::move(meanwhile));
  if (may_restart(power_)) folder().write_text(kRecipeName, recipe_of(request_->plan).dump());
  serve(std::move(*qmp_socket), std::move(console_socket));
  if (state_.state == RunState::kStarting) {
    state_.state = options_.first == LaunchOptions::First::kStayPaused ? RunState::kPaused
                                                                       : RunState::kRunning;
  }
  // Of a VM that runs and is not recorded as one that does, recover would make an end.
  folder().write_state(state_);
  log_.write(fmt::format("runs: QEMU {} ({}), pid {}", state_.qemu_version, state_.accel,
                         state_.qemu.pid));
}

asio::awaitable<void> VmSupervisor::get_memory() {
  const std::vector<MemoryRegion>& regions = request_->plan.regions;
  if (regions.empty()) co_return;
  const auto end = [this] {
    if (options_.on_populating) options_.on_populating(Bytes{}, Bytes{});
  };
  HostSide::TellPages tell = [this](Bytes got, Bytes wanted) {
    if (options_.on_populating) options_.on_populating(got, wanted);
    manager_.busy(fmt::format("populating memory: {} of {}", to_string(got), to_string(wanted)),
                  kPatience);
  };
  try {
    request_->memory = co_await host_.populate(regions, std::move(tell));
  } catch (...) {
    end();
    throw;
  }
  end();
}

// `request_` says what. The session is the new QEMU's then.
asio::awaitable<void> VmSupervisor::launch_qemu(LaunchOptions::First first,
                                                std::function<void()> meanwhile) {
  co_await get_memory();
  LaunchOptions launch_options;
  launch_options.first = first;
  if (!state_.qemu_outlives_supervisor) {
    launch_options.parent_death = SpawnRequest::ParentDeath::kKill;
  }
  launch_options.meanwhile = [&](const Child& child) {
    qemu_pid_ = child.identity.pid;
    state_.qemu = child.identity;
    qemu_pidfd_ = child.pidfd.get();
    save();
    if (meanwhile) meanwhile();
    if (stops_.any()) send_signal(qemu_pidfd_, SIGKILL);
  };
  launch_options.on_event = [this](const qmp::Event& event) { on_event(event); };
  is_launching_ = true;
  std::exception_ptr fault;
  try {
    Session fresh = co_await launch(context_, *request_, std::move(launch_options));
    retired_monitor_ = std::move(session_.monitor);
    session_ = std::move(fresh);
  } catch (...) {
    fault = std::current_exception();
  }
  is_launching_ = false;
  qemu_pidfd_ = fault ? -1 : session_.child.pidfd.get();
  if (fault) std::rethrow_exception(fault);
  request_->memory.clear();  // QEMU has mapped it
  state_.threads = session_.threads;
  runs_since_ = std::chrono::steady_clock::now();
}

// Clients are answered from here on.
void VmSupervisor::serve(Fd qmp_socket, std::optional<Fd> console_socket) {
  watch_monitor();
  service_.open(
      std::move(qmp_socket), std::move(console_socket),
      may_restart(power_) ? ConsoleOptions::SerialEnd::kStay : ConsoleOptions::SerialEnd::kEnd);
}

// QEMU holds the log open, and appends what it, or a guest by it, has to say.
void VmSupervisor::watch_log() {
  try {
    (void)folder().open_log(kQemuLogName);
    log_watch_.emplace(context_.get_executor(), folder().path_of(kQemuLogName),
                       [this] { (void)folder().cut_log(kQemuLogName); });
  } catch (const Error& error) {
    log_.write(error.what());  // no watches left, say
  }
}

// A QEMU that somebody else has started goes on; its sockets serve again.
asio::awaitable<void> VmSupervisor::adopt() {
  watch_log();
  qemu_pid_ = state_.qemu.pid;
  // What comes before there is a monitor to act on it by.
  const auto early = std::make_shared<std::vector<qmp::Event>>();
  std::function<void(const qmp::Event&)> on_each = [this, early](const qmp::Event& event) {
    if (session_.monitor) {
      on_event(event);
    } else {
      early->push_back(event);
    }
  };
  session_ = co_await take_over(context_, folder(), state_, std::move(on_each),
                                qmp::deadline_in(kReconnectTimeout));
  qemu_pidfd_ = session_.child.pidfd.get();
  runs_since_ = std::chrono::steady_clock::now();
  std::optional<Fd> console_socket;
  if (session_.console) console_socket = folder().listen(kConsoleSocketName, kServerBacklog);
  serve(folder().listen(kQmpSocketName, kServerBacklog), std::move(console_socket));
  save();
  log_.write(fmt::format("took over QEMU {} ({}), pid {}", state_.qemu_version, state_.accel,
                         state_.qemu.pid));
  for (const qmp::Event& event : *early) on_event(event);
  co_await hotplug_.settle();
  // What happened while nobody was there to see it.
  if (session_.found == "guest-panicked") {
    witness_.note_panic();
    on_standstill(Standstill::kPanic, {});
  } else if (session_.found == "shutdown") {
    on_standstill(Standstill::kShutdown, "guest-shutdown");
  }
  if (options_.on_running) options_.on_running(state_);
  options_.on_running = nullptr;
  manager_.ready(fmt::format("{} {}", state_.name, run_state_name(state_.state)));
  release_launch_memory();
  if (stops_.any()) stops_.climb_for_signal();
}

asio::awaitable<std::optional<Error>> VmSupervisor::wait_for_sign() {
  bool is_there = true;
  std::string operation;
  std::string object;
  if (options_.wait_for_agent) {
    operation = "wait for the guest's agent";
    std::string socket = agent_socket(request_->plan.config);
    is_there = co_await wait_for_agent(folder(), socket, *session_.exit, options_.wait_deadline);
  } else if (!options_.wait_for_text.empty()) {
    operation = "wait for the console to print";
    object = options_.wait_for_text;
    is_there = co_await service_.wait_for_text(object, options_.wait_deadline);
  }
  if (is_there) co_return std::nullopt;
  co_return no_sign(operation, object, session_.exit->has_ended() || !session_.monitor->is_open());
}

asio::awaitable<std::optional<Error>> VmSupervisor::tell_of_start() {
  std::optional<Error> fault = co_await wait_for_sign();
  if (fault) co_return fault;
  if (options_.on_running) options_.on_running(state_);
  manager_.ready(fmt::format("{} {}", state_.name, run_state_name(state_.state)));
  // What was for the launch only goes, once nobody waits for it any more: the supervisor of an
  // idle VM should cost next to nothing.
  options_.on_running = nullptr;
  folder_.emplace(std::move(request_->folder));
  request_.reset();
  release_launch_memory();
  co_return std::nullopt;
}

asio::awaitable<VmOutcome> VmSupervisor::give_up_start(Error fault) {
  stop_watching();
  if (session_.exit) co_await end_hurriedly();
  // Who stopped it while its guest was waited for is told when all is over.
  const bool is_waited_for = service_.is_open() && stops_.any();
  if (!is_waited_for) service_.close();
  if (request_) request_->memory.clear();  // before its pages are given back
  const std::string not_given_back = co_await host_.give_back(folder());
  if (not_given_back.empty()) {
    folder().remove_if_possible();
  } else {
    keep_for_recovery(not_given_back);
    Error::Parts parts = fault.parts();
    parts.cause += "; the host was not put back: " + not_given_back;
    parts.mend = "vmrig recover";
    fault = Error(std::move(parts));
  }
  if (!stops_.any()) throw fault;
  if (is_waited_for) co_await tell_of_end();
  co_return VmOutcome{.kind = VmOutcome::Kind::kStopped, .reason = "stopped while it started"};
}

}  // namespace vmrig
