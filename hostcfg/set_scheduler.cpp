#include "hostcfg/set_scheduler.hpp"

#include <fmt/format.h>
#include <sched.h>

#include <cerrno>

#include "hostcfg/base/error.hpp"

namespace vmrig {
namespace {

int number_of(SchedulerPolicy policy) {
  switch (policy) {
    case SchedulerPolicy::kFifo:
      return SCHED_FIFO;
    case SchedulerPolicy::kRr:
      return SCHED_RR;
    case SchedulerPolicy::kOther:
      break;
  }
  return SCHED_OTHER;
}

Error refusal(const std::string& what, const ThreadScheduler& scheduler, std::string cause,
              std::string mend = {}) {
  return Error({.status = ExitStatus::kHost,
                .operation = fmt::format("schedule {} as", what),
                .object = to_string(scheduler),
                .cause = std::move(cause),
                .mend = std::move(mend)});
}

}  // namespace

void set_scheduler(pid_t tid, const ThreadScheduler& scheduler, const std::string& what) {
  struct sched_param parameter {};
  parameter.sched_priority = scheduler.priority;
  const int policy = number_of(scheduler.policy) | SCHED_RESET_ON_FORK;
  if (::sched_setscheduler(tid, policy, &parameter) != 0) {
    if (errno != EPERM) {
      throw refusal(what, scheduler, system_error({}, {}, errno).parts().cause);
    }
    // With the right to, it is the kernel's group scheduling that gives the thread's cgroup no
    // real-time at all (linux Documentation/scheduler/sched-rt-group.rst, CONFIG_RT_GROUP_SCHED).
    throw refusal(what, scheduler,
                  "not permitted: neither CAP_SYS_NICE nor RLIMIT_RTPRIO allows it, or the cgroup "
                  "has no real-time (a kernel with CONFIG_RT_GROUP_SCHED)",
                  "run vmrig as root, or LimitRTPRIO=99 in the systemd unit (a container: "
                  "--cap-add SYS_NICE); with CONFIG_RT_GROUP_SCHED give the cgroup a "
                  "cpu.rt_runtime_us, or boot with rt_group_sched=0");
  }
  if (const ThreadScheduler got = read_scheduler(tid); got != scheduler) {
    throw refusal(what, scheduler, fmt::format("the kernel made it {}", to_string(got)));
  }
}

ThreadScheduler read_scheduler(pid_t tid) {
  struct sched_param parameter {};
  const int policy = ::sched_getscheduler(tid);
  if (policy < 0 || ::sched_getparam(tid, &parameter) != 0) {
    throw system_error("read the scheduling of thread", std::to_string(tid), errno);
  }
  ThreadScheduler scheduler;
  const int plain = policy & ~SCHED_RESET_ON_FORK;
  if (plain == SCHED_FIFO) scheduler.policy = SchedulerPolicy::kFifo;
  if (plain == SCHED_RR) scheduler.policy = SchedulerPolicy::kRr;
  if (scheduler.is_realtime()) scheduler.priority = parameter.sched_priority;
  return scheduler;
}

}  // namespace vmrig
