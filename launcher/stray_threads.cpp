#include "launcher/stray_threads.hpp"

#include <algorithm>
#include <optional>

#include "hostcfg/base/error.hpp"
#include "hostcfg/folder_reader.hpp"
#include "hostcfg/thread_affinity.hpp"
#include "hostcfg/thread_use.hpp"
#include "hostcfg/topology.hpp"

namespace vmrig {
namespace {

bool is_stray(pid_t tid, const CpuSet& allowed) {
  try {
    return !allowed.includes(thread_affinity(tid));
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

CpuSet worker_cpus(const VmState& state) {
  CpuSet cpus = state.placement.emulator;
  if (cpus.empty()) return cpus;
  for (const VmThread& thread : state.threads) {
    if (thread.role == "iothread") cpus = cpus | thread.cpus;
  }
  return cpus;
}

std::size_t pin_stray_threads(const VmState& state) {
  const CpuSet allowed = worker_cpus(state);
  const std::optional<FolderReader> root = FolderReader::open("/");
  if (allowed.empty() || state.threads.empty() || !root) return 0;  // without roles all are strays
  std::optional<Topology> topology;  // takes longer than all the rest; mostly there is nobody
  std::size_t count = 0;
  for (const pid_t tid : threads_of(*root, state.qemu.pid)) {
    const bool has_role = std::any_of(state.threads.begin(), state.threads.end(),
                                      [tid](const VmThread& thread) { return thread.tid == tid; });
    if (has_role || !is_stray(tid, allowed)) continue;
    try {
      if (!topology) topology = Topology::of_this_host();
      pin_thread(*topology, tid, state.placement.emulator);
      ++count;
    } catch (const Error&) {
      continue;
    }
  }
  return count;
}

}  // namespace vmrig
