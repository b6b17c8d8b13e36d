#include "launcher/vm_outcome.hpp"

#include <fmt/format.h>

#include <csignal>

namespace vmrig {

ExitStatus VmOutcome::status() const {
  switch (kind) {
    case Kind::kPoweredOff:
    case Kind::kReset:
    case Kind::kStopped:
      return ExitStatus::kDone;
    case Kind::kCrashed:
    case Kind::kPanicked:
      return ExitStatus::kFailed;
    case Kind::kKilled:
      return ExitStatus::kKilled;
  }
  return ExitStatus::kFailed;
}

VmOutcome judge_end(const EndWitness& witness) {
  using Kind = VmOutcome::Kind;
  const ExitReport& report = witness.report;
  if (report.signal_number == SIGKILL && witness.stopped_by == StopBy::kKill) {
    return {Kind::kKilled, "it had to be killed"};
  }
  // A watchdog ends QEMU with status 0 and without a SHUTDOWN. Source: qemu hw/watchdog/watchdog.c.
  if (witness.has_hung) return {Kind::kCrashed, "the guest hung, and its watchdog expired"};
  if (report.signal_number != 0) return {Kind::kCrashed, "QEMU ended by " + to_string(report)};
  const std::string& reason = witness.shutdown_reason;
  if (witness.has_panicked || reason == "guest-panic") {
    return {Kind::kPanicked, "the guest panicked"};
  }
  if (report.status != 0) return {Kind::kCrashed, "QEMU ended with " + to_string(report)};
  if (witness.stopped_by) {
    return {Kind::kStopped, fmt::format("stopped by {}", stop_by_name(*witness.stopped_by))};
  }
  if (reason == "guest-shutdown") return {Kind::kPoweredOff, "the guest powered off"};
  if (reason == "guest-reset") return {Kind::kReset, "the guest rebooted"};
  if (reason == "host-qmp-system-reset") return {Kind::kReset, "it was reset"};
  if (reason == "host-qmp-quit") return {Kind::kStopped, "QMP's quit"};
  if (reason == "host-signal") return {Kind::kStopped, "QEMU was asked to end by a signal"};
  return {Kind::kStopped, reason.empty() ? "QEMU ended" : "QEMU ended: " + reason};
}

}  // namespace vmrig
