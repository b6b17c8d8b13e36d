// A running VM against its plan, row by row. Pure.
#pragma once

#include <string>
#include <vector>

#include "launcher/config/vm_config.hpp"
#include "launcher/vm_measurement.hpp"
#include "launcher/vm_state.hpp"

namespace vmrig {

struct VerifyRow {
  std::string subject;   // "vcpu 0", "memory", "vfio net1"
  std::string expected;  // "CPUs 1-8"
  std::string measured;
  bool pass = false;
};

// In the order: vCPUs, emulator, iothreads, vhost workers, scheduler, limits, privileges, memory,
// lock, VFIO, waits, other tasks. Only what the plan promises can fail: a thread that is not pinned
// may run anywhere.
std::vector<VerifyRow> verify(const VmState& state, const VmConfig& config,
                              const VmMeasurement& measured);

}  // namespace vmrig
