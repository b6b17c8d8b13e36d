// QEMU's threads that were born where they should not be.
#pragma once

#include <cstddef>

#include "launcher/vm_state.hpp"

namespace vmrig {

// The CPUs that a thread of QEMU's without a role may run on: the emulator's, and those of the
// iothreads, whose workers inherit them. Empty: anywhere.
CpuSet worker_cpus(const VmState& state);

// Binds QEMU's threads that have no role, and may run elsewhere, to the emulator's CPUs. A thread
// that the kernel makes for KVM when a vCPU first runs (kvm-nx-lpage-recovery, since Linux 6.12)
// inherits that vCPU's CPU, where it would be in the guest's way. Returns how many there were.
// Threads that end meanwhile, or refuse, are passed over.
std::size_t pin_stray_threads(const VmState& state);

}  // namespace vmrig
