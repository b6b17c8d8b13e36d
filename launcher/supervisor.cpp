#include "launcher/supervisor.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <exception>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "launcher/capture.hpp"
#include "launcher/hotplug/hotplug.hpp"
#include "launcher/idle_memory.hpp"
#include "launcher/qemu_witness.hpp"
#include "launcher/signal_watch.hpp"
#include "launcher/stop_ladder.hpp"
#include "launcher/stop_requests.hpp"
#include "launcher/stray_threads.hpp"
#include "launcher/vm_log.hpp"
#include "launcher/vm_service.hpp"
#include "qmp/error.hpp"

namespace vmrig {
namespace {

namespace asio = boost::asio;

constexpr int kServerBacklog = 64;
constexpr std::chrono::milliseconds kHurriedQuit{500};
// QEMU's last events are in the socket when it ends; reading them takes no longer than this.
constexpr std::chrono::milliseconds kLastWords{200};
constexpr std::chrono::seconds kReconnectTimeout{5};
constexpr std::array<std::chrono::milliseconds, 3> kStrayLooks{
    std::chrono::milliseconds(50), std::chrono::seconds(1), std::chrono::seconds(5)};

std::int64_t seconds_since_epoch() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

class Supervisor {
 public:
  Supervisor(LaunchRequest request, SuperviseOptions options)
      : Supervisor(request.folder.open_log(kVmrigLogName), std::move(request.state),
                   std::move(options)) {
    request_.emplace(std::move(request));
  }
  Supervisor(Adoption adoption, SuperviseOptions options)
      : Supervisor(adoption.folder.open_log(kVmrigLogName), std::move(adoption.state),
                   std::move(options)) {
    folder_.emplace(std::move(adoption.folder));
    is_adopted_ = true;
  }

  VmOutcome run() {
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

 private:
  Supervisor(Fd log, VmState state, SuperviseOptions options)
      : options_(std::move(options)),
        log_(std::move(log)),
        state_(std::move(state)),
        host_(
            context_.get_executor(),
            [this](const std::string& line) { log_.write("host: " + line); },
            [this] {
              if (::getpid() == 1) reap_orphans(qemu_pid_);
            }),
        signals_(
            context_, options_.mode, [this](int number) { on_signal(number); },
            [this] { on_child(); }) {}

  asio::awaitable<void> live(std::optional<VmOutcome>& outcome) {
    if (is_adopted_) {
      co_await adopt();
      (void)co_await session_.exit->wait(qmp::kNoDeadline);
      outcome = co_await finish();
      co_return;
    }
    std::optional<Error> fault;
    try {
      co_await start();
    } catch (const Error& error) {
      fault = error;
    }
    if (!fault) fault = co_await tell_of_start();
    if (fault) {
      if (session_.exit) co_await end_for_fault();
      if (request_) request_->memory.clear();  // before its pages are given back
      const std::string not_given_back = co_await host_.give_back(folder());
      if (not_given_back.empty()) {
        folder().remove();
      } else {
        keep_for_recovery(not_given_back);
        Error::Parts parts = fault->parts();
        parts.cause += "; the host was not put back: " + not_given_back;
        parts.mend = "vmrig recover";
        fault.emplace(std::move(parts));
      }
      if (!stops_.any()) throw *fault;
      outcome = VmOutcome{.kind = VmOutcome::Kind::kStopped, .reason = "stopped while it started"};
      co_return;
    }
    (void)co_await session_.exit->wait(qmp::kNoDeadline);
    outcome = co_await finish();
  }

  VmFolder& folder() { return request_ ? request_->folder : *folder_; }

  void save() {
    try {
      folder().write_state(state_);
    } catch (const Error& error) {
      log_.write(error.what());
    }
  }

  // Keeps the folder, with the journal in it, for `vmrig recover`.
  void keep_for_recovery(const std::string& fault) {
    state_.state = RunState::kCrashed;
    state_.reason += (state_.reason.empty() ? "" : "; ") +
                     fmt::format("the host was not put back: {} (vmrig recover)", fault);
    if (state_.ended_at == 0) state_.ended_at = seconds_since_epoch();
    save();
    folder().release();
  }

  // From the plan to a guest that runs and sockets that serve.
  asio::awaitable<void> start() {
    co_await host_.prepare(request_->plan, folder());
    co_await get_memory();
    LaunchOptions launch_options;
    launch_options.first = options_.first;
    if (!state_.qemu_outlives_supervisor) {
      launch_options.parent_death = SpawnRequest::ParentDeath::kKill;
    }
    std::optional<Fd> qmp_socket;
    std::optional<Fd> console_socket;
    launch_options.meanwhile = [&](const Child& child) {
      qemu_pid_ = child.identity.pid;
      state_.qemu = child.identity;
      qemu_pidfd_ = child.pidfd.get();
      save();
      qmp_socket = folder().listen(kQmpSocketName, kServerBacklog);
      if (!state_.serial_sockets.empty()) {
        console_socket = folder().listen(kConsoleSocketName, kServerBacklog);
      }
      if (stops_.any()) send_signal(qemu_pidfd_, SIGKILL);
    };
    launch_options.on_event = [this](const qmp::Event& event) { on_event(event); };
    try {
      session_ = co_await launch(context_, *request_, std::move(launch_options));
    } catch (...) {
      qemu_pidfd_ = -1;
      throw;
    }
    qemu_pidfd_ = session_.child.pidfd.get();
    request_->memory.clear();  // QEMU has mapped it
    serve(std::move(*qmp_socket), std::move(console_socket));
    state_.threads = session_.threads;
    if (state_.state == RunState::kStarting) {
      state_.state = options_.first == LaunchOptions::First::kStayPaused ? RunState::kPaused
                                                                         : RunState::kRunning;
    }
    save();
    log_.write(fmt::format("runs: QEMU {} ({}), pid {}", state_.qemu_version, state_.accel,
                           state_.qemu.pid));
  }

  asio::awaitable<void> get_memory() {
    const std::vector<MemoryRegion>& regions = request_->plan.regions;
    if (regions.empty()) co_return;
    const auto end = [this] {
      if (options_.on_populating) options_.on_populating(Bytes{}, Bytes{});
    };
    try {
      HostSide::TellPages tell = options_.on_populating;
      request_->memory = co_await host_.populate(regions, std::move(tell));
    } catch (...) {
      end();
      throw;
    }
    end();
  }

  // Clients are answered from here on.
  void serve(Fd qmp_socket, std::optional<Fd> console_socket) {
    watch_monitor();
    service_.open(std::move(qmp_socket), std::move(console_socket));
  }

  // A QEMU that somebody else has started goes on; its sockets serve again.
  asio::awaitable<void> adopt() {
    qemu_pid_ = state_.qemu.pid;
    std::function<void(const qmp::Event&)> on_each = [this](const qmp::Event& event) {
      on_event(event);
    };
    session_ = co_await take_over(context_, folder(), state_, std::move(on_each),
                                  qmp::deadline_in(kReconnectTimeout));
    qemu_pidfd_ = session_.child.pidfd.get();
    std::optional<Fd> console_socket;
    if (session_.console) console_socket = folder().listen(kConsoleSocketName, kServerBacklog);
    serve(folder().listen(kQmpSocketName, kServerBacklog), std::move(console_socket));
    save();
    log_.write(fmt::format("took over QEMU {} ({}), pid {}", state_.qemu_version, state_.accel,
                           state_.qemu.pid));
    hotplug_.catch_up();
    if (options_.on_running) options_.on_running(state_);
    options_.on_running = nullptr;
    release_launch_memory();
  }

  asio::awaitable<std::optional<Error>> tell_of_start() {
    if (!options_.wait_for_text.empty()) {
      const std::string text = options_.wait_for_text;
      const bool printed = co_await service_.wait_for_text(text, options_.wait_deadline);
      if (!printed) {
        const bool ended = session_.exit->has_ended() || !session_.monitor->is_open();
        co_return Error({.status = ended ? ExitStatus::kFailed : ExitStatus::kTimeUp,
                         .operation = "wait for the console to print",
                         .object = text,
                         .cause = ended ? "the VM ended before" : "time is up; the VM was ended",
                         .mend = {}});
      }
    }
    if (options_.on_running) options_.on_running(state_);
    // What was for the launch only goes, once nobody waits for it any more: the supervisor of an
    // idle VM should cost next to nothing.
    options_.on_running = nullptr;
    folder_.emplace(std::move(request_->folder));
    request_.reset();
    release_launch_memory();
    co_return std::nullopt;
  }

  asio::awaitable<void> end_for_fault() {
    StopOptions quick;
    quick.first = StopOptions::First::kQuit;
    quick.quit_timeout = kHurriedQuit;
    (void)co_await stop_qemu(session_.monitor.get(), *session_.exit, qemu_pidfd_, std::move(quick));
    (void)reap(session_.child.pidfd.get());
    service_.close();
  }

  // QEMU is gone: what it was, the host side undone, everyone told.
  asio::awaitable<VmOutcome> finish() {
    if (session_.monitor->is_open()) {
      asio::steady_timer& timer = monitor_closed_;
      timer.expires_after(kLastWords);
      boost::system::error_code ignored;
      auto token = asio::redirect_error(asio::use_awaitable, ignored);
      co_await timer.async_wait(token);
    }
    const ExitReport report = exit_report();
    if (::getpid() == 1) reap_orphans(-1);
    EndWitness testimony = witness_.testimony();
    testimony.report = report;
    testimony.stopped_by = stops_.rung();
    VmOutcome outcome = judge_end(testimony);
    log_.write("ended: " + outcome.reason);

    const bool is_bad =
        outcome.kind == VmOutcome::Kind::kCrashed || outcome.kind == VmOutcome::Kind::kPanicked;
    state_.state = is_bad ? RunState::kCrashed : RunState::kEnded;
    state_.reason = outcome.reason;
    state_.ended_at = seconds_since_epoch();
    const std::string not_given_back = co_await host_.give_back(folder());
    try {
      if (!not_given_back.empty()) {
        keep_for_recovery(not_given_back);
        outcome.reason = state_.reason;
        if (outcome.kind != VmOutcome::Kind::kKilled) outcome.kind = VmOutcome::Kind::kCrashed;
      } else if (is_bad && options_.mode == RunMode::kDetached) {
        save();
        folder().release();
      } else {
        folder().remove();
      }
    } catch (const Error& error) {
      log_.write(error.what());
    }
    // Only now: who waits in vmrig-stop may start the VM again at once.
    stops_.over();
    co_await asio::post(context_, asio::use_awaitable);
    co_await service_.end(witness_.shutdown_data());
    co_return outcome;
  }

  // Only its parent is told how a process ended; of a QEMU that was taken over, its last event
  // tells that it ended in order.
  ExitReport exit_report() const {
    const ExitReport unknown{.status = 0, .signal_number = SIGKILL};
    const ExitReport in_order{.status = 0, .signal_number = 0};
    return reap(session_.child.pidfd.get())
        .value_or(is_adopted_ && witness_.has_shut_down() ? in_order : unknown);
  }

  void set_run_state(RunState state, std::string reason) {
    // A guest that is being stopped and continued for it is still one that is being stopped.
    if (state_.state == RunState::kStopping || state_.state == state) return;
    state_.state = state;
    state_.reason = std::move(reason);
    if (service_.is_open()) save();  // before, start() writes it all
  }

  void on_event(const qmp::Event& event) {
    hotplug_.on_event(event);
    witness_.note(event);
    if (event.name == "STOP") {
      set_run_state(RunState::kPaused, {});
    } else if (event.name == "RESUME") {
      set_run_state(RunState::kRunning, {});
      await_stray_threads(0);
    }
    if (!is_of_note(event)) return;
    log_.write(event.name + " " + event.data.dump(-1, ' ', false, Json::error_handler_t::replace));
  }

  // Nothing tells of such a thread's birth: it is looked for a few times after the guest runs.
  void await_stray_threads(std::size_t look) {
    if (look == kStrayLooks.size() || state_.placement.emulator.empty()) return;
    strays_.expires_after(kStrayLooks.at(look));
    strays_.async_wait([this, look](const boost::system::error_code& fault) {
      if (fault) return;
      const std::size_t count = pin_stray_threads(state_);
      if (count > 0) log_.write(fmt::format("moved {} threads to the emulator's CPUs", count));
      await_stray_threads(look + 1);
    });
  }

  void on_child() {
    // Modprobe's end is for the thread that has started it.
    if (!host_.is_at_work()) reap_orphans(qemu_pid_);
  }

  void on_signal(int number) {
    log_.write(fmt::format("signal SIG{}", ::sigabbrev_np(number)));
    // Of one who waits for what the guest prints (run_detached): the guest runs all the same.
    const bool is_of_waiter = number == SIGINT && options_.mode == RunMode::kDetached;
    if (is_of_waiter && service_.is_open() && options_.on_running) return;
    stops_.count();
    host_.cancel();
    if (service_.is_open()) {
      stops_.climb_for_signal();
    } else if (qemu_pidfd_ >= 0) {
      // No guest runs yet that could be asked; the launch fails at once by QEMU's end.
      send_signal(qemu_pidfd_, SIGKILL);
    }
  }

  void log_fault(const std::exception_ptr& fault) {
    if (!fault) return;
    try {
      std::rethrow_exception(fault);
    } catch (const std::exception& error) {
      log_.write(error.what());
    }
  }

  void watch_monitor() {
    session_.monitor->on_closed([this](const std::string& reason) {
      monitor_closed_.cancel();
      if (session_.exit->has_ended()) return;
      asio::co_spawn(context_, reconnect(reason),
                     [this](std::exception_ptr fault) { log_fault(fault); });
    });
  }

  // Mostly QEMU is about to end. Else one more connection is tried; without it the VM is still
  // supervised by its pidfd.
  asio::awaitable<void> reconnect(std::string reason) {
    if (co_await session_.exit->wait(qmp::deadline_in(kLastWords))) co_return;
    log_.write("QEMU's monitor closed: " + reason);
    if (std::exchange(has_reconnected_, true)) co_return;
    const qmp::Deadline deadline = qmp::deadline_in(kReconnectTimeout);
    try {
      Fd connection = folder().connect(kMonitorSocketName, deadline);
      auto monitor = std::make_unique<qmp::Client>(context_.get_executor(), connection.release());
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

  // The context outlives everything that waits in it.
  asio::io_context context_{1};
  std::optional<LaunchRequest> request_;  // until the guest runs
  SuperviseOptions options_;
  VmLog log_;
  std::optional<VmFolder> folder_;  // from then on
  VmState state_;
  HostSide host_;
  Session session_;
  std::unique_ptr<qmp::Client> retired_monitor_;  // commands that it failed may still resume
  Hotplug hotplug_{{.executor = context_.get_executor(),
                    .monitor = [this]() -> qmp::Client& { return *session_.monitor; },
                    .state = state_,
                    .save = [this] { save(); },
                    .folder = [this]() -> VmFolder& { return folder(); },
                    .host = host_,
                    .log = [this](const std::string& line) { log_.write(line); }}};
  Captures captures_{{.executor = context_.get_executor(),
                      .monitor = [this]() -> qmp::Client& { return *session_.monitor; },
                      .folder = [this]() -> VmFolder& { return folder(); },
                      .log = [this](const std::string& line) { log_.write(line); }}};
  StopRequests stops_{{.executor = context_.get_executor(),
                       .session = [this]() -> Session& { return session_; },
                       .state = state_,
                       .save = [this] { save(); },
                       .log = [this](const std::string& line) { log_.write(line); }}};
  VmService service_{{.executor = context_.get_executor(),
                      .session = [this]() -> Session& { return session_; },
                      .state = state_,
                      .stops = stops_,
                      .hotplug = hotplug_,
                      .captures = captures_,
                      .log = [this](const std::string& line) { log_.write(line); }}};
  asio::steady_timer monitor_closed_{context_};
  asio::steady_timer strays_{context_};
  QemuWitness witness_;
  pid_t qemu_pid_ = -1;
  int qemu_pidfd_ = -1;  // borrowed
  bool is_adopted_ = false;
  bool has_reconnected_ = false;
  SignalWatch signals_;  // last: its handlers use all of the above
};

template <class Origin>
VmOutcome run_supervisor(Origin origin, SuperviseOptions options) {
  const Disposition broken_pipes(SIGPIPE, SIG_IGN);
  std::optional<Disposition> hang_up;
  if (options.mode == RunMode::kDetached) hang_up.emplace(SIGHUP, SIG_IGN);
  Supervisor supervisor(std::move(origin), std::move(options));
  return supervisor.run();
}

}  // namespace

VmOutcome supervise(LaunchRequest request, SuperviseOptions options) {
  if (!options.wait_for_text.empty() && serial_sockets(request.plan).empty()) {
    Error failure({.status = ExitStatus::kUsage,
                   .operation = "wait for the console to print",
                   .object = options.wait_for_text,
                   .cause = "the VM has no console",
                   .mend = "\"serial\": [{\"id\": \"con0\", \"type\": \"socket\"}]"});
    request.folder.remove();
    throw failure;
  }
  return run_supervisor(std::move(request), std::move(options));
}

VmOutcome supervise(Adoption adoption, SuperviseOptions options) {
  return run_supervisor(std::move(adoption), std::move(options));
}

}  // namespace vmrig
