#include "launcher/vhost_threads.hpp"

#include <optional>
#include <string>

#include "hostcfg/folder_reader.hpp"
#include "hostcfg/vhost_workers.hpp"

namespace vmrig {

std::vector<VmThread> vhost_threads(pid_t qemu, const CpuSet& cpus) {
  std::vector<VmThread> threads;
  const std::optional<FolderReader> root = FolderReader::open("/");
  if (!root) return threads;
  for (const pid_t worker : vhost_workers(*root, qemu)) {
    threads.push_back(
        {.role = "vhost", .id = std::to_string(threads.size()), .tid = worker, .cpus = cpus});
  }
  return threads;
}

}  // namespace vmrig
