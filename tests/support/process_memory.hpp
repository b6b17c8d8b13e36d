// How much memory another process takes, in the kernel's own numbers.
#pragma once

#include <sys/types.h>

#include <cstddef>

namespace vmrig::testing {

// VmRSS and VmHWM of /proc/PID/status, in bytes; 0 when it has gone.
std::size_t resident_bytes(pid_t pid);
std::size_t peak_bytes(pid_t pid);
// Sets the peak back to what is resident now. Source: linux Documentation/filesystems/proc.rst,
// clear_refs, 5.
void forget_peak(pid_t pid);

}  // namespace vmrig::testing
