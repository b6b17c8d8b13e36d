// What list and status tell of a VM's record.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>

#include "launcher/state_dir.hpp"

namespace vmrig {

// What the record does not tell is empty, 0 or -1.
struct VmSummary {
  pid_t pid = -1;         // QEMU's, while it lives
  pid_t supervisor = -1;  // while it lives
  int vcpus = 0;
  std::string memory;                          // "8GiB"
  std::optional<int> node;                     // NUMA node of the pinned vCPUs, when all are on one
  std::optional<std::chrono::seconds> uptime;  // of QEMU, while it lives
  std::string reason;                          // why it is paused or has ended
};

VmSummary summarise(const VmEntry& entry);

// The NUMA node of all of these CPUs; nullopt when there is none, or several.
std::optional<int> node_of(const CpuSet& cpus);

}  // namespace vmrig
