// Which cores, packages and last-level caches the CPUs of a host belong to, by the kernel's tables.
#pragma once

#include <optional>
#include <vector>

#include "hostcfg/facts.hpp"
#include "hostcfg/folder_reader.hpp"

namespace vmrig {

// The online CPUs by id; `core`, `package` and `l3` count from 0 over the whole host, in hwloc's
// order, and `node` is -1. `root` is the host's /. Each table is read once for all the CPUs that
// share it: hwloc reads some fifteen files of every CPU, which takes 40 ms on 512 of them. nullopt
// when the kernel does not tell, or tables contradict each other.
// Source: linux Documentation/ABI/stable/sysfs-devices-system-cpu.
std::optional<std::vector<CpuFacts>> read_cpu_topology(const FolderReader& root);

}  // namespace vmrig
