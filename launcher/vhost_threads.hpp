// The kernel's workers of a VM's vhost NICs, as threads of the VM.
#pragma once

#include <vector>

#include "hostcfg/base/cpu_set.hpp"
#include "launcher/vm_state.hpp"

namespace vmrig {

// Those that are there now, role "vhost", numbered from 0; `cpus` is where they belong, empty for
// anywhere. Reads /proc. None on a kernel before 6.4 that is looked at from a PID namespace.
std::vector<VmThread> vhost_threads(pid_t qemu, const CpuSet& cpus);

}  // namespace vmrig
