#include "launcher/vm_supervisor.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <array>
#include <boost/asio/co_spawn.hpp>
#include <nlohmann/json.hpp>
#include <utility>

#include "launcher/config/load_config.hpp"
#include "launcher/stray_threads.hpp"
#include "qmp/error.hpp"

namespace vmrig {

namespace asio = boost::asio;

namespace {

// QEMU's last events are in the socket when it ends; reading them takes no longer than this.
constexpr std::chrono::milliseconds kLastWords{200};
constexpr std::chrono::seconds kReconnectTimeout{5};
constexpr std::array<std::chrono::milliseconds, 3> kStrayLooks{
    std::chrono::milliseconds(50), std::chrono::seconds(1), std::chrono::seconds(5)};
// Beside the guest's own time: to quit, to be killed, and to give the host back.
constexpr std::chrono::seconds kAfterPowerdown{90};

// The VM may be of another version of vmrig.
PowerConfig power_of(const VmState& state) {
  try {
    return config_from_json(state.config).power;
  } catch (const DiagnosticsError&) {
    return {};
  }
}

// A VM goes on without a log where there can be none.
Fd open_vm_log(const VmFolder& folder) {
  try {
    return folder.open_log(kVmrigLogName);
  } catch (const Error&) {
    return Fd();
  }
}

}  // namespace

VmSupervisor::VmSupervisor(LaunchRequest request, SuperviseOptions options)
    : VmSupervisor(open_vm_log(request.folder), std::move(request.state), request.plan.config.power,
                   std::move(options)) {
  request_.emplace(std::move(request));
}

VmSupervisor::VmSupervisor(Adoption adoption, SuperviseOptions options)
    : VmSupervisor(open_vm_log(adoption.folder), adoption.state, power_of(adoption.state),
                   std::move(options)) {
  folder_.emplace(std::move(adoption.folder));
  is_adopted_ = true;
}

VmSupervisor::VmSupervisor(Fd log, VmState state, const PowerConfig& power,
                           SuperviseOptions options)
    : options_(std::move(options)),
      log_(std::move(log), [this] { (void)folder().cut_log(kVmrigLogName); }),
      state_(std::move(state)),
      power_(power),
      host_(
          context_.get_executor(), [this](const std::string& line) { log_.write("host: " + line); },
          [this] {
            if (::getpid() == 1) reap_orphans(qemu_pid_);
          }),
      access_watch_(context_.get_executor(),
                    [this](const std::string& line) { log_.write("host: " + line); }),
      hotplug_({.executor = context_.get_executor(),
                .monitor = [this]() -> qmp::Client& { return *session_.monitor; },
                .state = state_,
                .save = [this] { save(); },
                .save_or_throw = [this] { folder().write_state(state_); },
                .folder = [this]() -> VmFolder& { return folder(); },
                .host = host_,
                .log = [this](const std::string& line) { log_.write_bounded(line); }}),
      captures_({.executor = context_.get_executor(),
                 .monitor = [this]() -> qmp::Client& { return *session_.monitor; },
                 .folder = [this]() -> VmFolder& { return folder(); },
                 .log = [this](const std::string& line) { log_.write_bounded(line); }}),
      stops_({.executor = context_.get_executor(),
              .session = [this]() -> Session& { return session_; },
              .state = state_,
              .save = [this] { save(); },
              .log = [this](const std::string& line) { log_.write(line); },
              .on_request = [this] { on_stop_request(); }}),
      service_({.executor = context_.get_executor(),
                .session = [this]() -> Session& { return session_; },
                .state = state_,
                .stops = stops_,
                .hotplug = hotplug_,
                .captures = captures_,
                .log = [this](const std::string& line) { log_.write_bounded(line); }}),
      manager_(context_.get_executor(), options_.service, options_.mode),
      restarts_(power),
      signals_(
          context_, options_.mode, [this](int number) { on_signal(number); },
          [this] { on_child(); }) {}

VmOutcome VmSupervisor::run() {
  std::optional<VmOutcome> outcome;
  std::exception_ptr fault;
  asio::co_spawn(context_, live(outcome), [&](std::exception_ptr thrown) {
    fault = std::move(thrown);
    context_.stop();
  });
  context_.run();
  if (fault) std::rethrow_exception(fault);
  return std::move(*outcome);
}

asio::awaitable<void> VmSupervisor::live(std::optional<VmOutcome>& outcome) {
  if (is_adopted_) {
    co_await adopt();
  } else {
    std::optional<Error> fault;
    try {
      co_await start();
    } catch (const Error& error) {
      fault = error;
    }
    if (!fault) fault = co_await tell_of_start();
    if (fault) {
      outcome = co_await give_up_start(std::move(*fault));
      co_return;
    }
  }
  VmOutcome end = co_await end_of_run();
  while (co_await waits_for_restart(end)) {
    const std::string fault = co_await start_anew();
    if (fault.empty()) {
      end = co_await end_of_run();
    } else if (stops_.any()) {
      end = {.kind = VmOutcome::Kind::kStopped, .reason = "stopped while it was started anew"};
    } else {
      end = {.kind = VmOutcome::Kind::kCrashed, .reason = "it did not start anew: " + fault};
    }
  }
  outcome = co_await finish(std::move(end));
}

void VmSupervisor::save() {
  if (is_watching_) access_watch_.look_after(coming_sockets(state_));
  try {
    folder().write_state(state_);
  } catch (const Error& error) {
    log_.write(error.what());
  }
}

// What is given back now must not be given once more.
void VmSupervisor::stop_watching() {
  is_watching_ = false;
  access_watch_.look_after({});
}

void VmSupervisor::tell_manager() {
  std::string status = fmt::format("{} {}", state_.name, run_state_name(state_.state));
  if (!state_.reason.empty()) status += ": " + state_.reason;
  manager_.status(status);
}

void VmSupervisor::set_run_state(RunState state, std::string reason) {
  // A guest that is being stopped and continued for it is still one that is being stopped.
  if (state_.state == RunState::kStopping) return;
  if (state_.state == state && (reason.empty() || state_.reason == reason)) return;
  state_.state = state;
  state_.reason = std::move(reason);
  if (!service_.is_open() || is_launching_) return;  // the start writes it all
  save();
  tell_manager();
}

void VmSupervisor::on_event(const qmp::Event& event) {
  hotplug_.on_event(event);
  witness_.note(event);
  if (event.name == "STOP") {
    set_run_state(RunState::kPaused, {});
    // It was told to stand still then; one that ends says no STOP, and must not be disturbed: a
    // quit at that moment has been seen to crash QEMU 10.0.
    if (witness_.has_panicked()) {
      on_standstill(Standstill::kPanic, {});
    } else if (witness_.has_shut_down()) {
      on_standstill(Standstill::kShutdown, witness_.shutdown_data().value("reason", std::string()));
    }
  } else if (event.name == "RESUME") {
    set_run_state(RunState::kRunning, {});
    await_stray_threads(0);
  } else if (event.name == "WATCHDOG" && event.data.value("action", std::string()) == "pause") {
    set_run_state(RunState::kPaused, "its watchdog expired");
  }
  if (!is_of_note(event)) return;
  log_.write_bounded(event.name + " " +
                     event.data.dump(-1, ' ', false, Json::error_handler_t::replace));
}

// QEMU has stopped for good, as it was told to.
void VmSupervisor::on_standstill(Standstill what, const std::string& reason) {
  if (may_stand_still(power_, what, reason)) {
    set_run_state(RunState::kPaused,
                  what == Standstill::kPanic ? "the guest panicked" : "the guest powered off");
    return;
  }
  if (!session_.monitor || !session_.monitor->is_open()) return;
  session_.monitor->execute_raw(Json{{"execute", "quit"}}, {}, [](const qmp::RawReply&) {});
}

// Nothing tells of such a thread's birth: it is looked for a few times after the guest runs.
void VmSupervisor::await_stray_threads(std::size_t look) {
  if (look == kStrayLooks.size() || state_.placement.emulator.empty()) return;
  strays_.expires_after(kStrayLooks.at(look));
  strays_.async_wait([this, look](const boost::system::error_code& fault) {
    if (fault) return;
    const std::size_t count = pin_stray_threads(state_);
    if (count > 0) log_.write(fmt::format("moved {} threads to the emulator's CPUs", count));
    await_stray_threads(look + 1);
  });
}

void VmSupervisor::on_child() {
  // Modprobe's end is for the thread that has started it.
  if (!host_.is_at_work()) reap_orphans(qemu_pid_);
}

void VmSupervisor::on_signal(int number) {
  log_.write(fmt::format("signal SIG{}", ::sigabbrev_np(number)));
  // Of one who waits for what the guest prints (run_detached): the guest runs all the same.
  const bool is_of_waiter = number == SIGINT && options_.mode == RunMode::kDetached;
  if (is_of_waiter && service_.is_open() && options_.on_running) return;
  host_.cancel();
  stops_.count();
  if (service_.is_open()) stops_.climb_for_signal();
}

void VmSupervisor::on_stop_request() {
  if (options_.on_stopping) options_.on_stopping();
  manager_.stopping(state_.name + " is being stopped",
                    std::chrono::seconds(state_.stop_timeout_s) + kAfterPowerdown);
  if (service_.is_open() && !is_launching_) {
    restart_.cancel();
    return;
  }
  // No guest runs yet that could be asked; the launch fails at once by QEMU's end.
  host_.cancel();
  if (qemu_pidfd_ >= 0) send_signal(qemu_pidfd_, SIGKILL);
}

void VmSupervisor::log_fault(const std::exception_ptr& fault) {
  if (!fault) return;
  try {
    std::rethrow_exception(fault);
  } catch (const std::exception& error) {
    log_.write(error.what());
  }
}

void VmSupervisor::watch_monitor() {
  session_.monitor->on_closed([this, exit = session_.exit.get()](const std::string& reason) {
    monitor_closed_.cancel();
    if (session_.exit.get() != exit || exit->has_ended()) return;
    asio::co_spawn(context_, reconnect(reason),
                   [this](std::exception_ptr fault) { log_fault(fault); });
  });
}

// Mostly QEMU is about to end. Else one more connection is tried; without it the VM is still
// supervised by its pidfd.
asio::awaitable<void> VmSupervisor::reconnect(std::string reason) {
  if (co_await session_.exit->wait(qmp::deadline_in(kLastWords))) co_return;
  log_.write("QEMU's monitor closed: " + reason);
  if (std::exchange(has_reconnected_, true)) co_return;
  const qmp::Deadline deadline = qmp::deadline_in(kReconnectTimeout);
  try {
    Fd connection = folder().connect(kMonitorSocketName, deadline);
    auto monitor = std::make_unique<qmp::Client>(context_.get_executor(), connection.release(),
                                                 monitor_options());
    (void)co_await monitor->handshake(deadline);
    session_.events = monitor->subscribe([this](const qmp::Event& event) { on_event(event); });
    retired_monitor_ = std::exchange(session_.monitor, std::move(monitor));
    service_.replace_monitor();
    watch_monitor();
    log_.write("reconnected to QEMU's monitor");
  } catch (const qmp::Error& error) {
    log_.write(fmt::format("no way back to QEMU's monitor: {}", error.what()));
  }
}

}  // namespace vmrig
