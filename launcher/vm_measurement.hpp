// A running VM in the kernel's own numbers, over a window of time.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "hostcfg/base/cpu_set.hpp"
#include "hostcfg/memory_use.hpp"
#include "hostcfg/process_rights.hpp"
#include "hostcfg/thread_use.hpp"
#include "launcher/vm_limits.hpp"
#include "launcher/vm_state.hpp"

namespace vmrig {

// A thread of QEMU's, or a vhost worker that the kernel runs for it.
struct ThreadMeasurement {
  ThreadUse use;              // at the end of the window
  CpuSet allowed;             // its affinity
  std::uint64_t run_ns = 0;   // in the window
  std::uint64_t wait_ns = 0;  // in the window
  std::uint64_t involuntary = 0;
};

// Somebody else's thread that ran in the window, and at its end was on one of the VM's CPUs.
struct OtherTask {
  pid_t pid = -1;
  std::string name;
  int cpu = -1;
  double share = 0;  // of the window that it ran
};

struct VfioMeasurement {
  std::string id;
  std::string driver;        // empty: none
  std::optional<int> group;  // of the IOMMU
  bool is_open = false;      // QEMU holds the group
  CpuSet interrupts;         // CPUs that its interrupts go to; empty: it has none now
};

struct VmMeasurement {
  std::chrono::nanoseconds window{0};
  std::vector<ThreadMeasurement> threads;
  std::vector<OtherTask> others;      // on the pinned vCPUs' CPUs
  std::vector<MemoryMapping> memory;  // of QEMU, the large ones
  Bytes locked;                       // VmLck
  std::vector<VfioMeasurement> vfio;  // as in state.passed
  std::optional<VmLimits> limits;     // of its cgroup
  std::optional<ProcessRights> rights;
};

// Takes `window`. What QEMU's process does not show (another user's) is left empty.
VmMeasurement measure_vm(const VmState& state, std::chrono::nanoseconds window);

}  // namespace vmrig
