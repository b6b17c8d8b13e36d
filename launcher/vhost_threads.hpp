// The kernel's workers of a VM's vhost NICs, as threads of the VM.
#pragma once

#include <vector>

#include "hostcfg/base/cpu_set.hpp"
#include "launcher/vm_state.hpp"

namespace vmrig {

// Those that are there now, role "vhost", numbered from 0. One of `known` keeps its CPUs; another
// belongs to those of `places` that the fewest have, and anywhere when there are none. Reads /proc.
// None on a kernel before 6.4 that is looked at from a PID namespace.
std::vector<VmThread> vhost_threads(pid_t qemu, const std::vector<CpuSet>& places,
                                    const std::vector<VmThread>& known = {});

}  // namespace vmrig
