// The supervisor: a QEMU that has ended is started anew, as the config wishes.
#include <fmt/format.h>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <nlohmann/json.hpp>
#include <utility>

#include "launcher/idle_memory.hpp"
#include "launcher/launch_recipe.hpp"
#include "launcher/vm_supervisor.hpp"
#include "launcher/wall_clock.hpp"
#include "qmp/error.hpp"

namespace vmrig {

namespace asio = boost::asio;

namespace {

constexpr std::size_t kMaxRecipeBytes = std::size_t{8} << 20;
constexpr std::chrono::seconds kContinueTimeout{10};

}  // namespace

// True when the pause before the next start is over. False when there is none; `outcome` says so.
asio::awaitable<bool> VmSupervisor::waits_for_restart(VmOutcome& outcome) {
  if (stops_.any() || !restarts_.wants(outcome)) co_return false;
  const auto has_run = std::chrono::steady_clock::now() - runs_since_;
  const std::optional<std::chrono::seconds> pause = restarts_.next(outcome, has_run);
  if (!pause) {
    outcome.reason += fmt::format("; given up after {} restart{} in a row", restarts_.most(),
                                  restarts_.most() == 1 ? "" : "s");
    outcome.kind = VmOutcome::Kind::kCrashed;
    co_return false;
  }
  state_.state = RunState::kRestarting;
  state_.last_end = outcome.reason;
  state_.reason = fmt::format("{}; started anew after {} s, time {} of {}", outcome.reason,
                              pause->count(), restarts_.in_a_row(), restarts_.most());
  save();
  log_.write("restart: " + state_.reason);
  tell_manager();
  if (options_.on_restart) options_.on_restart(state_);
  service_.tell("VMRIG_RESTART", {{"reason", outcome.reason},
                                  {"seconds", pause->count()},
                                  {"time", restarts_.in_a_row()},
                                  {"most", restarts_.most()}});
  restart_.expires_after(*pause);
  boost::system::error_code ignored;
  auto token = asio::redirect_error(asio::use_awaitable, ignored);
  co_await restart_.async_wait(token);
  if (!stops_.any()) co_return true;
  outcome = {.kind = VmOutcome::Kind::kStopped,
             .reason = fmt::format("stopped before it was started anew ({})", outcome.reason)};
  co_return false;
}

// The host side is as it was; QEMU gets new fds, memory and helpers. Returns what was in the way.
asio::awaitable<std::string> VmSupervisor::start_anew() {
  std::string fault;
  witness_ = QemuWitness();
  runs_since_ = std::chrono::steady_clock::now();
  try {
    co_await start_by_recipe();
  } catch (const std::exception& error) {  // ours, QMP's and Json's
    fault = error.what();
  }
  if (request_) {
    request_->memory.clear();
    folder_.emplace(std::move(request_->folder));
    request_.reset();
  }
  if (!fault.empty()) {
    if (!session_.exit->has_ended()) co_await end_hurriedly();
    log_.write("restart: " + fault);
    co_return fault;
  }
  replay_.reset();
  hotplug_.resume();
  ++state_.restarts;
  state_.started_at = seconds_since_epoch();
  state_.reason.clear();
  if (state_.state == RunState::kRestarting) state_.state = RunState::kRunning;
  save();
  log_.write(fmt::format("runs anew: pid {}, restart {}", state_.qemu.pid, state_.restarts));
  tell_manager();
  service_.tell("VMRIG_RESTARTED", {{"pid", state_.qemu.pid}, {"restarts", state_.restarts}});
  release_launch_memory();
  co_return fault;
}

asio::awaitable<void> VmSupervisor::start_by_recipe() {
  Plan plan = plan_of_recipe(Json::parse(folder().read_text(kRecipeName, kMaxRecipeBytes)));
  // Kept until it is done: a start may fail, and be tried again.
  Replay replay = co_await hotplug_.suspend(plan.config);
  if (replay_) replay.add(std::move(*replay_));
  replay_ = std::move(replay);
  plan = without_devices(std::move(plan), replay_->gone);
  request_.emplace(LaunchRequest{.plan = std::move(plan),
                                 .folder = std::move(*folder_),
                                 .state = {},
                                 .topology = std::nullopt,
                                 .memory = {}});
  folder_.reset();
  const bool is_whole = replay_->empty();
  std::function<void()> nothing;
  co_await launch_qemu(
      is_whole ? LaunchOptions::First::kContinue : LaunchOptions::First::kStayPaused,
      std::move(nothing));
  is_adopted_ = false;
  has_reconnected_ = false;
  watch_monitor();
  service_.replace_qemu();
  if (is_whole) co_return;
  co_await hotplug_.replay(*replay_);
  qmp::ExecuteOptions options;
  options.deadline = qmp::deadline_in(kContinueTimeout);
  qmp::Json none = qmp::Json::object();
  (void)co_await session_.monitor->execute("cont", std::move(none), std::move(options));
}

}  // namespace vmrig
