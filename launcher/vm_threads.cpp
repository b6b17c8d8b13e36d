#include "launcher/vm_threads.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

namespace vmrig {
namespace {

// A recorded thread, wherever it is now; a tid may be somebody else's by now.
std::optional<ThreadUse> read_recorded(const FolderReader& root, pid_t qemu,
                                       const VmThread& thread) {
  if (auto use = read_thread_use(root, qemu, thread.tid)) return use;
  if (thread.role != "vhost") return std::nullopt;
  // Source: linux drivers/vhost/vhost.c, "vhost-%d" with the pid of the owner.
  auto worker = read_thread_use(root, thread.tid, thread.tid);
  if (!worker || !worker->is_kernel_thread || worker->name != fmt::format("vhost-{}", qemu)) {
    return std::nullopt;
  }
  return worker;
}

}  // namespace

std::vector<VmThreadUse> read_vm_threads(const FolderReader& root, const VmState& state) {
  std::vector<VmThreadUse> threads;
  std::vector<pid_t> others = threads_of(root, state.qemu.pid);
  if (others.empty()) return threads;
  for (const VmThread& thread : state.threads) {
    std::optional<ThreadUse> use = read_recorded(root, state.qemu.pid, thread);
    if (!use) continue;
    std::erase(others, thread.tid);
    threads.push_back({.role = thread.role, .id = thread.id, .pinned = thread.cpus, .use = {}});
    threads.back().use = std::move(*use);
  }
  for (const pid_t tid : others) {
    std::optional<ThreadUse> use = read_thread_use(root, state.qemu.pid, tid);
    if (!use) continue;
    threads.push_back({.role = kOtherThreads, .id = use->name, .pinned = {}, .use = {}});
    threads.back().use = std::move(*use);
  }
  return threads;
}

}  // namespace vmrig
