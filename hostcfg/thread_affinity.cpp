#include "hostcfg/thread_affinity.hpp"

#include <fmt/format.h>
#include <hwloc.h>
#include <hwloc/linux.h>
#include <sched.h>

#include <cerrno>
#include <cstddef>
#include <memory>
#include <string>
#include <system_error>

#include "hostcfg/base/error.hpp"

namespace vmrig {
namespace {

struct FreeBitmap {
  void operator()(hwloc_bitmap_t bitmap) const { hwloc_bitmap_free(bitmap); }
};
using Bitmap = std::unique_ptr<hwloc_bitmap_s, FreeBitmap>;

std::string cause_of(int error_number) {
  switch (error_number) {
    case ESRCH:
      return "there is no such thread";
    case EINVAL:
      return "none of these CPUs is online and in the thread's cpuset";
    case EPERM:
      return "the thread belongs to another user";
    default:
      return std::generic_category().message(error_number);
  }
}

[[noreturn]] void refuse(pid_t tid, const CpuSet& cpus, std::string cause) {
  throw Error({.status = ExitStatus::kFailed,
               .operation = fmt::format("pin thread {} to CPUs", tid),
               .object = cpus.to_string(),
               .cause = std::move(cause),
               .mend = {}});
}

}  // namespace

void pin_thread(const Topology& topology, pid_t tid, const CpuSet& cpus) {
  if (cpus.empty()) refuse(tid, cpus, "the set is empty");
  const Bitmap bitmap(hwloc_bitmap_alloc());
  if (!bitmap) throw std::bad_alloc();
  for (const int cpu : cpus.cpus()) {
    if (hwloc_bitmap_set(bitmap.get(), static_cast<unsigned>(cpu)) < 0) throw std::bad_alloc();
  }
  if (hwloc_linux_set_tid_cpubind(topology.handle(), tid, bitmap.get()) < 0) {
    refuse(tid, cpus, cause_of(errno));
  }
  const CpuSet got = thread_affinity(tid);
  if (got != cpus) {
    refuse(tid, cpus,
           fmt::format("the kernel granted only {}; the rest is offline or outside the cpuset",
                       got.to_string()));
  }
}

CpuSet thread_affinity(pid_t tid) {
  // The kernel refuses a buffer smaller than its own mask, so it is as large as any kernel's.
  using Deallocate = void (*)(cpu_set_t*);
  const std::unique_ptr<cpu_set_t, Deallocate> mask(CPU_ALLOC(CpuSet::kMaxCpus),
                                                    [](cpu_set_t* set) { CPU_FREE(set); });
  if (!mask) throw std::bad_alloc();
  const std::size_t size = CPU_ALLOC_SIZE(CpuSet::kMaxCpus);
  CPU_ZERO_S(size, mask.get());
  if (::sched_getaffinity(tid, size, mask.get()) < 0) {
    throw system_error("read the CPU affinity of thread", std::to_string(tid), errno);
  }
  CpuSet cpus;
  for (int cpu = 0; cpu < CpuSet::kMaxCpus; ++cpu) {
    if (CPU_ISSET_S(static_cast<std::size_t>(cpu), size, mask.get())) cpus.insert(cpu);
  }
  return cpus;
}

}  // namespace vmrig
