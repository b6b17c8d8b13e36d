// The supervisor: QEMU is gone.
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <nlohmann/json.hpp>
#include <utility>

#include <fmt/format.h>

#include "launcher/stop_ladder.hpp"
#include "launcher/vm_supervisor.hpp"
#include "launcher/wall_clock.hpp"

namespace vmrig {

namespace asio = boost::asio;

namespace {

// QEMU's last events are in the socket when it ends; reading them takes no longer than this.
constexpr std::chrono::milliseconds kLastWords{200};
constexpr std::chrono::milliseconds kHurriedQuit{500};

bool is_bad(const VmOutcome& outcome) {
  return outcome.kind == VmOutcome::Kind::kCrashed || outcome.kind == VmOutcome::Kind::kPanicked;
}

}  // namespace

// Waits for QEMU's end, and says what it was.
asio::awaitable<VmOutcome> VmSupervisor::end_of_run() {
  (void)co_await session_.exit->wait(qmp::kNoDeadline);
  if (session_.monitor->is_open()) {
    asio::steady_timer& timer = monitor_closed_;
    timer.expires_after(kLastWords);
    boost::system::error_code ignored;
    auto token = asio::redirect_error(asio::use_awaitable, ignored);
    co_await timer.async_wait(token);
  }
  qemu_pidfd_ = -1;
  EndWitness testimony = witness_.testimony();
  testimony.report = exit_report();
  testimony.stopped_by = stops_.rung();
  if (::getpid() == 1) reap_orphans(-1);
  VmOutcome outcome = judge_end(testimony);
  log_.write("ended: " + outcome.reason);
  co_return outcome;
}

// Only its parent is told how a process ended; of a QEMU that was taken over, its last event
// tells that it ended in order.
ExitReport VmSupervisor::exit_report() const {
  const ExitReport unknown{.status = 0, .signal_number = SIGKILL};
  const ExitReport in_order{.status = 0, .signal_number = 0};
  return reap(session_.child.pidfd.get())
      .value_or(is_adopted_ && witness_.has_shut_down() ? in_order : unknown);
}

asio::awaitable<void> VmSupervisor::end_hurriedly() {
  StopOptions quick;
  quick.first = StopOptions::First::kQuit;
  quick.quit_timeout = kHurriedQuit;
  const int pidfd = session_.child.pidfd.get();
  (void)co_await stop_qemu(session_.monitor.get(), *session_.exit, pidfd, std::move(quick));
  (void)reap(pidfd);
  qemu_pidfd_ = -1;
}

// The host side undone, everyone told.
asio::awaitable<VmOutcome> VmSupervisor::finish(VmOutcome outcome) {
  stop_watching();
  state_.state = is_bad(outcome) ? RunState::kCrashed : RunState::kEnded;
  state_.reason = outcome.reason;
  state_.ended_at = seconds_since_epoch();
  manager_.status(fmt::format("{} ended: {}", state_.name, outcome.reason));
  // Who stops a guest that stood still after its panic has seen it.
  const bool was_kept_and_stopped =
      outcome.kind == VmOutcome::Kind::kPanicked && stops_.rung().has_value();
  const std::string not_given_back = co_await host_.give_back(folder());
  try {
    if (!not_given_back.empty()) {
      keep_for_recovery(not_given_back);
      outcome.reason = state_.reason;
      if (outcome.kind != VmOutcome::Kind::kKilled) outcome.kind = VmOutcome::Kind::kCrashed;
    } else if (is_bad(outcome) && options_.mode == RunMode::kDetached && !was_kept_and_stopped) {
      save();
      folder().release();
    } else {
      folder().remove();
    }
  } catch (const Error& error) {
    log_.write(error.what());
  }
  co_await tell_of_end();
  co_return outcome;
}

// Only when the host is as before: who waits in vmrig-stop may start the VM again at once.
asio::awaitable<void> VmSupervisor::tell_of_end() {
  stops_.over();
  co_await asio::post(context_, asio::use_awaitable);
  co_await service_.end(witness_.shutdown_data());
}

// Keeps the folder, with the journal in it, for `vmrig recover`.
void VmSupervisor::keep_for_recovery(const std::string& fault) {
  state_.state = RunState::kCrashed;
  state_.reason += (state_.reason.empty() ? "" : "; ") +
                   fmt::format("the host was not put back: {} (vmrig recover)", fault);
  if (state_.ended_at == 0) state_.ended_at = seconds_since_epoch();
  save();
  folder().release();
}

}  // namespace vmrig
