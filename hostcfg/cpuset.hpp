// The CPUs and NUMA nodes that this process's cpuset cgroup lets it use.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hostcfg/base/cpu_set.hpp"
#include "hostcfg/folder_reader.hpp"
#include "hostcfg/mounts.hpp"

namespace vmrig {

struct Cpuset {
  std::optional<CpuSet> cpus;  // none where no cpuset limits the process
  std::optional<CpuSet> nodes;
  CpuSet isolated;  // CPUs in isolated partitions, cgroup v2 since linux 6.7
};

// Reads /proc/self/cgroup and the effective lists of the process's own cgroup, or where that one
// has none, of the nearest ancestor that is visible. In a container the mount may show
// only the container's part of the tree. Sched affinity plays no part in it: on a host with
// isolcpus= the default affinity leaves the isolated CPUs out, and yet they may be used.
// Source: linux Documentation/admin-guide/cgroup-v2.rst, "Cpuset"; cgroup-v1/cpusets.rst.
Cpuset read_cpuset(const FolderReader& root, const std::vector<Mount>& mounts);

}  // namespace vmrig
