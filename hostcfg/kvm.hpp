// Whether this host can run KVM guests: the CPU's flags, and /dev/kvm.
#pragma once

#include "hostcfg/facts.hpp"
#include "hostcfg/folder_reader.hpp"

namespace vmrig {

// Fills vendor, model and flags from the first processor of /proc/cpuinfo: with 512 CPUs the
// whole of it takes longer than all other facts together.
void read_cpu_flags(const FolderReader& root, HostFacts& facts);

}  // namespace vmrig
