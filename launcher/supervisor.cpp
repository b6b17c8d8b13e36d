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
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <exception>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "launcher/capture.hpp"
#include "launcher/console.hpp"
#include "launcher/hotplug/hotplug.hpp"
#include "launcher/idle_memory.hpp"
#include "launcher/refusal.hpp"
#include "launcher/stop_ladder.hpp"
#include "launcher/stray_threads.hpp"
#include "launcher/vm_log.hpp"
#include "qmp/error.hpp"
#include "qmp/server.hpp"

namespace vmrig {
namespace {

namespace asio = boost::asio;

constexpr int kServerBacklog = 64;
constexpr std::chrono::milliseconds kHurriedQuit{500};
// QEMU's last events are in the socket when it ends; reading them takes no longer than this.
constexpr std::chrono::milliseconds kLastWords{200};
constexpr std::chrono::seconds kDrainTimeout{2};
constexpr std::chrono::seconds kStatusTimeout{2};
constexpr std::chrono::seconds kReconnectTimeout{5};
constexpr double kMaxStopTimeoutS = 86400;
constexpr std::array<std::chrono::milliseconds, 3> kStrayLooks{
    std::chrono::milliseconds(50), std::chrono::seconds(1), std::chrono::seconds(5)};

std::int64_t seconds_since_epoch() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// A signal's disposition for a time.
class Disposition {
 public:
  Disposition(int number, void (*handler)(int)) : number_(number) {
    struct sigaction action {};
    action.sa_handler = handler;
    ::sigaction(number, &action, &before_);
  }
  Disposition(const Disposition&) = delete;
  Disposition& operator=(const Disposition&) = delete;
  ~Disposition() { ::sigaction(number_, &before_, nullptr); }

 private:
  int number_;
  struct sigaction before_ {};
};

// A VM goes on without a log where there can be none.
Fd open_vm_log(const VmFolder& folder) {
  try {
    return folder.open_log(kVmrigLogName);
  } catch (const Error&) {
    return Fd();
  }
}

class Supervisor {
 public:
  Supervisor(LaunchRequest request, SuperviseOptions options)
      : Supervisor(open_vm_log(request.folder), std::move(request.state), std::move(options)) {
    request_.emplace(std::move(request));
  }
  Supervisor(Adoption adoption, SuperviseOptions options)
      : Supervisor(open_vm_log(adoption.folder), std::move(adoption.state), std::move(options)) {
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
        signals_(context_, SIGTERM, SIGINT),
        state_(std::move(state)),
        host_(
            context_.get_executor(),
            [this](const std::string& line) { log_.write("host: " + line); },
            [this] {
              if (::getpid() == 1) reap_orphans(qemu_pid_);
            }) {
    if (options_.mode == RunMode::kForeground) signals_.add(SIGHUP);
    if (::getpid() == 1) signals_.add(SIGCHLD);
    stop_defaults_.powerdown_timeout = std::chrono::seconds(state_.stop_timeout_s);
    await_signal();
  }

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
        folder().remove_if_possible();
      } else {
        keep_for_recovery(not_given_back);
        Error::Parts parts = fault->parts();
        parts.cause += "; the host was not put back: " + not_given_back;
        parts.mend = "vmrig recover";
        fault.emplace(std::move(parts));
      }
      if (stop_requests_ == 0) throw *fault;
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
      if (stop_requests_ > 0) send_signal(qemu_pidfd_, SIGKILL);
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
    // Of a VM that runs and is not recorded as one that does, recover would make an end.
    folder().write_state(state_);
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
    qmp::ServerOptions server_options;
    server_options.log = [this](const std::string& message) { log_.write("qmp: " + message); };
    server_options.watched_commands = {"device_add"};
    server_options.on_watched = [this](const std::string&) { hotplug_.on_foreign_change(); };
    server_.emplace(context_.get_executor(), qmp_socket.release(), *session_.monitor,
                    std::move(server_options));
    add_commands();
    if (!session_.console) return;
    ConsoleOptions console_options;
    console_options.log = [this](const std::string& message) { log_.write(message); };
    console_.emplace(context_.get_executor(), std::move(session_.console),
                     std::move(*console_socket), std::move(console_options));
  }

  // A QEMU that somebody else has started goes on; its sockets serve again.
  asio::awaitable<void> adopt() {
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
    std::optional<Fd> console_socket;
    if (session_.console) console_socket = folder().listen(kConsoleSocketName, kServerBacklog);
    serve(folder().listen(kQmpSocketName, kServerBacklog), std::move(console_socket));
    save();
    log_.write(fmt::format("took over QEMU {} ({}), pid {}", state_.qemu_version, state_.accel,
                           state_.qemu.pid));
    for (const qmp::Event& event : *early) on_event(event);
    co_await hotplug_.settle();
    if (options_.on_running) options_.on_running(state_);
    options_.on_running = nullptr;
    release_launch_memory();
  }

  asio::awaitable<std::optional<Error>> tell_of_start() {
    if (!options_.wait_for_text.empty()) {
      const std::string text = options_.wait_for_text;
      const bool printed = co_await console_->wait_for_text(text, options_.wait_deadline);
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
    server_.reset();
    console_.reset();
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
    VmOutcome outcome = judge_end({.report = report,
                                   .shutdown_reason = shutdown_data_.value("reason", std::string()),
                                   .stopped_by = rung_,
                                   .has_panicked = has_panicked_});
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
    is_over_ = true;
    over_.cancel();
    co_await asio::post(context_, asio::use_awaitable);
    server_->upstream_gone(shutdown_data_);
    co_await server_->drained(qmp::deadline_in(kDrainTimeout));
    co_return outcome;
  }

  // Only its parent is told how a process ended; of a QEMU that was taken over, its last event
  // tells that it ended in order.
  ExitReport exit_report() const {
    const ExitReport unknown{.status = 0, .signal_number = SIGKILL};
    const ExitReport in_order{.status = 0, .signal_number = 0};
    return reap(session_.child.pidfd.get())
        .value_or(is_adopted_ && has_shut_down_ ? in_order : unknown);
  }

  void set_run_state(RunState state, std::string reason) {
    // A guest that is being stopped and continued for it is still one that is being stopped.
    if (state_.state == RunState::kStopping || state_.state == state) return;
    state_.state = state;
    state_.reason = std::move(reason);
    if (server_) save();  // before, start() writes it all
  }

  void on_event(const qmp::Event& event) {
    hotplug_.on_event(event);
    if (event.name == "STOP") {
      set_run_state(RunState::kPaused, {});
    } else if (event.name == "RESUME") {
      set_run_state(RunState::kRunning, {});
      await_stray_threads(0);
    } else if (event.name == "SHUTDOWN") {
      shutdown_data_ = event.data;
      has_shut_down_ = true;
    } else if (event.name == "GUEST_PANICKED") {
      has_panicked_ = true;
    } else if (event.name != "RESET" && event.name != "WATCHDOG" && event.name != "POWERDOWN") {
      return;
    }
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

  void add_commands() {
    server_->add_command("vmrig-status", [this](qmp::Json) { return status(); });
    server_->add_command("vmrig-ping",
                         [this](qmp::Json arguments) { return ping(std::move(arguments)); });
    server_->add_command("vmrig-stop",
                         [this](qmp::Json arguments) { return stop(std::move(arguments)); });
    add_hotplug_command("vmrig-attach", &Hotplug::attach);
    add_hotplug_command("vmrig-detach", &Hotplug::detach);
    add_hotplug_command("vmrig-set", &Hotplug::set);
    add_refusing_command("vmrig-capture",
                         [this](Json arguments) { return captures_.begin(std::move(arguments)); });
    add_refusing_command("vmrig-capture-end",
                         [this](Json arguments) { return captures_.end(std::move(arguments)); });
    server_->add_command("vmrig-version", [](qmp::Json) -> asio::awaitable<qmp::Json> {
      co_return qmp::Json{{"version", VMRIG_VERSION}};
    });
  }

  void add_hotplug_command(const char* name,
                           asio::awaitable<Json> (Hotplug::*operation)(Json arguments)) {
    add_refusing_command(name, [this, operation](Json arguments) {
      return (hotplug_.*operation)(std::move(arguments));
    });
  }

  // For operations whose faults are vmrig's.
  void add_refusing_command(const char* name, qmp::Handler operation) {
    server_->add_command(name, [operation = std::move(operation)](qmp::Json arguments) {
      return answer(operation, std::move(arguments));
    });
  }

  static asio::awaitable<qmp::Json> answer(const qmp::Handler& operation, qmp::Json arguments) {
    std::exception_ptr fault;
    try {
      qmp::Json reply = co_await operation(std::move(arguments));
      co_return reply;
    } catch (...) {
      fault = std::current_exception();
    }
    throw refusal_of(fault);
  }

  asio::awaitable<qmp::Json> status() {
    qmp::Json answer = to_json(state_);
    qmp::Json live = {{"qmp_clients", server_->client_count()},
                      {"console_clients", console_ ? console_->client_count() : 0}};
    try {
      qmp::ExecuteOptions options;
      options.deadline = qmp::deadline_in(kStatusTimeout);
      qmp::Json none = qmp::Json::object();
      const qmp::Json run_state =
          co_await session_.monitor->execute("query-status", std::move(none), std::move(options));
      live["qemu_status"] = run_state.value("status", std::string());
      if (hotplug_.has_balloon()) live["balloon"] = co_await hotplug_.balloon();
    } catch (const qmp::Error& error) {
      live["qemu_status"] = nullptr;
      live["problem"] = error.what();
    }
    answer["live"] = std::move(live);
    co_return answer;
  }

  // Whether QEMU answers within "timeout" (seconds).
  asio::awaitable<qmp::Json> ping(qmp::Json arguments) {
    constexpr std::chrono::duration<double> kLongest = kStatusTimeout;
    const Json wanted = arguments.value("timeout", Json(kLongest.count()));
    if (!wanted.is_number() || wanted.get<double>() < 0) {
      throw qmp::Error::refusal("vmrig-ping takes \"timeout\" (seconds)");
    }
    // One question at a time: a QEMU that is silent for days must not find a heap of them.
    if (!std::exchange(is_ping_open_, true)) {
      const double seconds = std::min(wanted.get<double>(), kLongest.count());
      ping_answer_.expires_after(
          std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000)));
      session_.monitor->execute_raw(
          qmp::Json{{"execute", "query-status"}}, {},
          [this](const qmp::RawReply&) {
            is_ping_open_ = false;
            ping_answer_.cancel();
          },
          qmp::kNoDeadline);
    }
    if (is_ping_open_) {
      boost::system::error_code ignored;
      auto token = asio::redirect_error(asio::use_awaitable, ignored);
      co_await ping_answer_.async_wait(token);
    }
    co_return qmp::Json{{"qemu", !is_ping_open_ && session_.monitor->is_open()}};
  }

  asio::awaitable<qmp::Json> stop(qmp::Json arguments) {
    StopOptions options = stop_defaults_;
    for (const auto& [key, value] : arguments.items()) {
      if (key == "force" && value.is_boolean()) {
        if (value.get<bool>()) options.first = StopOptions::First::kQuit;
      } else if (key == "timeout" && value.is_number() && value.get<double>() >= 0 &&
                 value.get<double>() <= kMaxStopTimeoutS) {
        options.powerdown_timeout =
            std::chrono::milliseconds(static_cast<std::int64_t>(value.get<double>() * 1000));
      } else {
        throw qmp::Error::refusal(
            "vmrig-stop takes \"force\" (a boolean) and \"timeout\" (seconds, up to a day)");
      }
    }
    ++stop_requests_;
    co_await climb(std::move(options));
    // The ladder's end is QEMU's; ours is when the folder is gone, too.
    if (!is_over_) {
      boost::system::error_code ignored;
      auto token = asio::redirect_error(asio::use_awaitable, ignored);
      co_await over_.async_wait(token);
    }
    co_return qmp::Json{{"by", stop_by_name(rung_.value_or(StopBy::kPowerdown))}};
  }

  asio::awaitable<void> climb(StopOptions options) {
    if (state_.state != RunState::kStopping) {
      state_.state = RunState::kStopping;
      save();
    }
    options.on_rung = [this](StopBy rung) {
      if (rung_ && *rung_ >= rung) return;
      rung_ = rung;
      log_.write(fmt::format("stopping by {}", stop_by_name(rung)));
    };
    (void)co_await stop_qemu(session_.monitor.get(), *session_.exit, qemu_pidfd_,
                             std::move(options));
  }

  void await_signal() {
    signals_.async_wait([this](const boost::system::error_code& fault, int number) {
      if (fault) return;
      on_signal(number);
      await_signal();
    });
  }

  void on_signal(int number) {
    if (number == SIGCHLD) {
      // Modprobe's end is for the thread that has started it.
      if (!host_.is_at_work()) reap_orphans(qemu_pid_);
      return;
    }
    log_.write(fmt::format("signal SIG{}", ::sigabbrev_np(number)));
    // Of one who waits for what the guest prints (run_detached): the guest runs all the same.
    const bool is_of_waiter = number == SIGINT && options_.mode == RunMode::kDetached;
    if (is_of_waiter && server_ && options_.on_running) return;
    ++stop_requests_;
    host_.cancel();
    if (!server_) {
      // No guest runs yet that could be asked; the launch fails at once by QEMU's end.
      if (qemu_pidfd_ >= 0) send_signal(qemu_pidfd_, SIGKILL);
      return;
    }
    StopOptions options = stop_defaults_;
    if (++stop_signals_ > 1) {
      options.first = StopOptions::First::kQuit;
      options.quit_timeout = kHurriedQuit;
    }
    asio::co_spawn(context_, climb(std::move(options)),
                   [this](std::exception_ptr fault) { log_fault(fault); });
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
      server_->replace_upstream(*monitor);
      retired_monitor_ = std::exchange(session_.monitor, std::move(monitor));
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
  asio::signal_set signals_;
  VmState state_;
  HostSide host_;
  StopOptions stop_defaults_;
  asio::steady_timer ping_answer_{context_};
  bool is_ping_open_ = false;
  Session session_;
  std::unique_ptr<qmp::Client> retired_monitor_;  // commands that it failed may still resume
  Hotplug hotplug_{{.executor = context_.get_executor(),
                    .monitor = [this]() -> qmp::Client& { return *session_.monitor; },
                    .state = state_,
                    .save = [this] { save(); },
                    .save_or_throw = [this] { folder().write_state(state_); },
                    .folder = [this]() -> VmFolder& { return folder(); },
                    .host = host_,
                    .log = [this](const std::string& line) { log_.write(line); }}};
  Captures captures_{{.executor = context_.get_executor(),
                      .monitor = [this]() -> qmp::Client& { return *session_.monitor; },
                      .folder = [this]() -> VmFolder& { return folder(); },
                      .log = [this](const std::string& line) { log_.write(line); }}};
  std::optional<qmp::Server> server_;
  std::optional<ConsoleServer> console_;
  asio::steady_timer monitor_closed_{context_};
  asio::steady_timer strays_{context_};
  asio::steady_timer over_{context_, asio::steady_timer::time_point::max()};
  Json shutdown_data_ = Json{{"guest", false}, {"reason", "host-error"}};
  std::optional<StopBy> rung_;  // the highest that any ladder climbed
  pid_t qemu_pid_ = -1;
  int qemu_pidfd_ = -1;    // borrowed
  int stop_requests_ = 0;  // by anyone
  int stop_signals_ = 0;
  bool is_over_ = false;
  bool is_adopted_ = false;
  bool has_shut_down_ = false;
  bool has_panicked_ = false;
  bool has_reconnected_ = false;
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
