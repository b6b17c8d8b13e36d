// What one look at a VM has told: the kernel's numbers, and QEMU's own answers.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "hostcfg/base/json.hpp"
#include "hostcfg/link_counters.hpp"
#include "hostcfg/memory_use.hpp"
#include "hostcfg/process_use.hpp"
#include "launcher/state_dir.hpp"
#include "launcher/vm_limits.hpp"
#include "launcher/vm_threads.hpp"

namespace vmrig {

// By the kernel. What is not to be seen (another user's, another namespace's) is left out.
struct KernelReading {
  std::chrono::steady_clock::time_point at;  // when the threads were looked at
  std::vector<VmThreadUse> threads;
  std::optional<std::chrono::seconds> uptime;  // of QEMU
  std::optional<ProcessUse> qemu;
  std::optional<ProcessUse> supervisor;
  std::optional<HugetlbUse> hugetlb;         // by node; none: it would take long to find out
  std::map<std::string, LinkCounters> nics;  // by id in the config, as the guest sees them
  std::optional<VmLimits> limits;
  std::optional<double> throttled_s;  // of its cgroup, by cpu.max
};

// Replies as QEMU gave them; null where it refused, or knows no such command.
struct QemuReading {
  std::chrono::steady_clock::time_point at;  // when it had told all
  std::chrono::nanoseconds round_trip{0};    // of a query-status
  Json block;                                // query-blockstats
  Json memory;                               // query-memory-size-summary
  Json balloon;                              // query-balloon
  Json balloon_stats;                        // the guest's own, and when it told them
  Json cpus;                                 // query-cpus-fast
  Json stats_schemas;                        // query-stats-schemas
  Json vm_stats;                             // query-stats of the VM
  Json vcpu_stats;                           // query-stats of all vCPUs
};

struct VmReading {
  VmEntry entry;
  KernelReading kernel;
  std::optional<QemuReading> qemu;  // none: it did not answer in time
};

struct HostReading {
  std::map<int, double> steal_s;         // by CPU: taken away by whoever runs this host
  std::chrono::nanoseconds duration{0};  // of the look at all VMs
};

}  // namespace vmrig
