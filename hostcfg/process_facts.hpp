// What this process may do: its user, capabilities and limits.
#pragma once

#include "hostcfg/facts.hpp"
#include "hostcfg/folder_reader.hpp"

namespace vmrig {

// Fills affinity, limits, user, ids and capabilities from
// /proc/self/{status,limits,uid_map,gid_map}. Returns the NUMA nodes of Mems_allowed_list, which is
// the kernel's own intersection of all cpusets; empty when not told. Source: proc_pid_status(5),
// proc_pid_limits(5), linux include/uapi/linux/capability.h.
CpuSet read_process_facts(const FolderReader& root, HostFacts& facts);

}  // namespace vmrig
