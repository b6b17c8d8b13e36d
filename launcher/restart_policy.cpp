#include "launcher/restart_policy.hpp"

#include <algorithm>

namespace vmrig {

bool may_restart(const PowerConfig& power) {
  return power.on_poweroff == OnEnd::kRestart || power.on_crash == OnEnd::kRestart;
}

bool RestartPolicy::wants(const VmOutcome& outcome) const {
  switch (outcome.kind) {
    case VmOutcome::Kind::kPoweredOff:
      return power_.on_poweroff == OnEnd::kRestart;
    case VmOutcome::Kind::kCrashed:
    case VmOutcome::Kind::kPanicked:
      return power_.on_crash == OnEnd::kRestart;
    case VmOutcome::Kind::kReset:
    case VmOutcome::Kind::kStopped:
    case VmOutcome::Kind::kKilled:
      break;
  }
  return false;
}

std::optional<std::chrono::seconds> RestartPolicy::next(
    const VmOutcome& outcome, std::chrono::steady_clock::duration has_run) {
  if (!wants(outcome)) return std::nullopt;
  if (has_run >= kLasting) in_a_row_ = 0;
  if (in_a_row_ >= power_.max_restarts) return std::nullopt;
  constexpr int kMostDoublings = 6;  // beyond it is the longest pause anyway
  const std::chrono::seconds pause = kFirstPause * (1 << std::min(in_a_row_, kMostDoublings));
  ++in_a_row_;
  return std::min(pause, kLongestPause);
}

}  // namespace vmrig
