#include "launcher/vhost_threads.hpp"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>

#include "hostcfg/folder_reader.hpp"
#include "hostcfg/vhost_workers.hpp"

namespace vmrig {

namespace {

const VmThread* find_worker(const std::vector<VmThread>& threads, pid_t tid) {
  const auto found = std::find_if(threads.begin(), threads.end(), [tid](const VmThread& thread) {
    return thread.role == "vhost" && thread.tid == tid;
  });
  return found == threads.end() ? nullptr : &*found;
}

}  // namespace

std::vector<VmThread> vhost_threads(pid_t qemu, const std::vector<CpuSet>& places,
                                    const std::vector<VmThread>& known) {
  std::vector<VmThread> threads;
  const std::optional<FolderReader> root = FolderReader::open("/");
  if (!root) return threads;
  std::vector<int> workers_at(places.size(), 0);
  const auto place_of = [&](const CpuSet& cpus) {
    return std::find(places.begin(), places.end(), cpus);
  };
  const auto count = [&](const CpuSet& cpus) {
    const auto place = place_of(cpus);
    if (place != places.end()) ++workers_at[static_cast<std::size_t>(place - places.begin())];
  };
  for (const pid_t tid : vhost_workers(*root, qemu)) {
    VmThread worker{.role = "vhost", .id = std::to_string(threads.size()), .tid = tid, .cpus = {}};
    if (const VmThread* old = find_worker(known, tid)) {
      worker.cpus = old->cpus;
      count(worker.cpus);
    }
    threads.push_back(std::move(worker));
  }
  if (places.empty()) return threads;
  for (VmThread& worker : threads) {
    if (find_worker(known, worker.tid) != nullptr) continue;
    const auto least = std::min_element(workers_at.begin(), workers_at.end());
    worker.cpus = places[static_cast<std::size_t>(least - workers_at.begin())];
    ++*least;
  }
  return threads;
}

}  // namespace vmrig
