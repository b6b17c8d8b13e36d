// How a VM ended, for the user and for the exit status.
#pragma once

#include <optional>
#include <string>

#include "hostcfg/base/error.hpp"
#include "launcher/process.hpp"
#include "launcher/stop_ladder.hpp"

namespace vmrig {

struct VmOutcome {
  // kPoweredOff and kReset are the guest's own doing, kReset where a reset ends the VM.
  enum class Kind { kPoweredOff, kReset, kStopped, kCrashed, kPanicked, kKilled };
  Kind kind = Kind::kPoweredOff;
  std::string reason;  // for the user: "guest powered off", "QEMU ended by signal 11 (SIGSEGV)"
  ExitStatus status() const;
};

// What is known when QEMU is gone.
struct EndWitness {
  ExitReport report;
  std::string shutdown_reason;  // of the SHUTDOWN event (qemu qapi/run-state.json); may be empty
  std::optional<StopBy> stopped_by;  // the rung that vmrig's own stop had reached
  bool has_panicked = false;
  bool has_hung = false;  // its watchdog expired, and was to end it
};

VmOutcome judge_end(const EndWitness& witness);

}  // namespace vmrig
