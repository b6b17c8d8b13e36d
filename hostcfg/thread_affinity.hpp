// Which CPUs a thread of any process may run on.
#pragma once

#include <sys/types.h>

#include "hostcfg/base/cpu_set.hpp"
#include "hostcfg/topology.hpp"

namespace vmrig {

// Binds thread `tid` (of this or another process; 0 is the calling thread) to `cpus`, and
// reads it back, because the kernel drops CPUs outside the thread's cpuset without an error.
// Throws vmrig::Error with the tid, the CPUs wanted and the reason; after a short binding the
// thread stays on the CPUs that it got.
// Source: hwloc 2.9 hwloc_linux_set_tid_cpubind; linux sched_setaffinity(2), "NOTES".
void pin_thread(const Topology& topology, pid_t tid, const CpuSet& cpus);

// What the kernel says thread `tid` is bound to (0 is the calling thread). Throws vmrig::Error.
CpuSet thread_affinity(pid_t tid);

}  // namespace vmrig
