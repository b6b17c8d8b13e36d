// Sets how the kernel schedules a thread of any process.
#pragma once

#include <sys/types.h>

#include <string>

#include "hostcfg/base/thread_scheduler.hpp"

namespace vmrig {

// Sets it, and reads it back. Threads and processes that the thread makes later are scheduled as
// any other (SCHED_RESET_ON_FORK): an iothread's workers would else be ahead of the whole host.
// `what` names the thread in messages ("vCPU 0"). Throws vmrig::Error (kHost).
// Source: sched(7), sched_setscheduler(2).
void set_scheduler(pid_t tid, const ThreadScheduler& scheduler, const std::string& what);

// What the kernel says of thread `tid`; batch, idle and the like count as other. Throws
// vmrig::Error.
ThreadScheduler read_scheduler(pid_t tid);

}  // namespace vmrig
