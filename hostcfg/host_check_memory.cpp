// Memory: hugepages, and what moves pages about behind a VM's back.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "hostcfg/host_check_rows.hpp"

namespace vmrig {
namespace {

constexpr const char* kHugepageFolder = "/sys/devices/system/node/node{}/hugepages/hugepages-{}kB";

std::string mib(Bytes bytes) { return fmt::format("{} MiB", bytes.value >> 20); }

std::string pages_name(Bytes size) { return to_string(size) + " pages"; }

// "hugepagesz=1G hugepages=0:8": pages of one node, since Linux 5.16.
std::string boot_parameter(Bytes size, int node, std::uint64_t pages) {
  return kernel_parameter(fmt::format("hugepagesz={} hugepages={}:{}",
                                      size == Bytes::gib(1) ? "1G" : "2M", node, pages));
}

}  // namespace

bool HostCheck::wants_pool(const NumaNode& node, Bytes page_size) const {
  if (!wishes_.hugepages || (wishes_.node && *wishes_.node != node.id)) return false;
  if (wishes_.page_size.value != 0) return wishes_.page_size == page_size;
  // Any will do: 1GiB pages are the better ones, where the CPU has them.
  return page_size == (facts_.pdpe1gb ? Bytes::gib(1) : Bytes::mib(2));
}

bool HostCheck::any_pool_has_pages() const {
  return std::any_of(facts_.nodes.begin(), facts_.nodes.end(), [this](const NumaNode& node) {
    return std::any_of(node.hugepages.begin(), node.hugepages.end(), [&](const HugepagePool& pool) {
      const bool fits = wishes_.page_size.value == 0 || wishes_.page_size == pool.page_size;
      const bool here = !wishes_.node || *wishes_.node == node.id;
      return fits && here && pool.free > 0;
    });
  });
}

void HostCheck::hugepage_pool(const NumaNode& node, const HugepagePool& pool) {
  const std::string name = fmt::format("{}, node {}", pages_name(pool.page_size), node.id);
  std::string found = fmt::format("{} free of {}", pool.free, pool.total);
  if (!wants_pool(node, pool.page_size)) return ok(name, std::move(found));
  const std::uint64_t page = pool.page_size.value;
  std::uint64_t needed = wishes_.memory.value / page;
  Need need = Need::kRequired;
  if (needed == 0) {  // no config: any page is a beginning
    if (pool.free > 0) return ok(name, std::move(found));
    need = any_pool_has_pages() ? Need::kNone : Need::kRequired;
    constexpr std::uint64_t kEnough = Bytes::gib(8).value;
    needed = std::max<std::uint64_t>(1, std::min(node.memory_free.value / 2, kEnough) / page);
  } else {
    // Without a node of its own the VM takes pages from all of them.
    std::uint64_t free = 0;
    for (const NumaNode& other : facts_.nodes) {
      for (const HugepagePool& same : other.hugepages) {
        const bool counts =
            wishes_.node ? other.id == node.id : facts_.allowed_nodes.contains(other.id);
        if (counts && same.page_size == pool.page_size) free += same.free;
      }
    }
    found += fmt::format(", {} needed", needed);
    if (free >= needed) return ok(name, std::move(found));
    needed -= free;
  }
  const std::uint64_t total = pool.total + needed;
  lacks(need, name, std::move(found),
        fmt::format("echo {} > {}/nr_hugepages", total,
                    fmt::format(fmt::runtime(kHugepageFolder), node.id, page >> 10)),
        boot_parameter(pool.page_size, node.id, total));
}

void HostCheck::hugepage_pools() {
  bool has_wanted = false;
  for (const NumaNode& node : facts_.nodes) {
    for (const HugepagePool& pool : node.hugepages) {
      has_wanted |= wants_pool(node, pool.page_size);
      hugepage_pool(node, pool);
    }
  }
  if (has_wanted || !wishes_.hugepages) return;
  const bool is_1gib = wishes_.page_size == Bytes::gib(1);
  const bool cpu_lacks = is_1gib && !facts_.pdpe1gb;
  lacks(Need::kRequired, "hugepages",
        cpu_lacks ? "the CPU has no 1GiB pages" : "there is no pool of the pages wanted",
        cpu_lacks ? "\"hugepages\": \"2MiB\""
                  : kernel_parameter(is_1gib ? "hugepagesz=1G hugepages=8"
                                             : "hugepagesz=2M hugepages=4096"));
}

void HostCheck::hugetlbfs_mounts() {
  const char* name = "hugetlbfs";
  std::string found;
  bool fits = false;
  for (const HugetlbfsMount& mount : facts_.hugetlbfs) {
    found +=
        fmt::format("{}{} ({})", found.empty() ? "" : ", ", mount.path, to_string(mount.page_size));
    fits |= wishes_.page_size.value == 0 || wishes_.page_size == mount.page_size;
  }
  if (found.empty()) found = "not mounted";
  if (fits) return ok(name, found);
  const bool is_1gib =
      wishes_.page_size.value == 0 ? facts_.pdpe1gb : wishes_.page_size == Bytes::gib(1);
  const std::string where = is_1gib ? "/dev/hugepages-1G" : "/dev/hugepages";
  const bool wanted = wishes_.hugepages && wishes_.hugetlbfs;
  if (wanted && !facts_.hugetlbfs.empty()) {
    found += fmt::format("; none with {}", pages_name(wishes_.page_size));
  }
  if (wanted && facts_.can_sys_admin) return ok(name, found + "; vmrig mounts its own");
  const Need need = wishes_.page_size.value == 0 ? Need::kUseful : Need::kRequired;
  lacks(
      wanted ? need : Need::kNone, name, found,
      fmt::format("mkdir -p {0} && mount -t hugetlbfs -o pagesize={1} none {0}", where,
                  is_1gib ? "1G" : "2M"),
      fmt::format("none {} hugetlbfs pagesize={} 0 0 in /etc/fstab", where, is_1gib ? "1G" : "2M"));
}

void HostCheck::transparent_hugepages() {
  const char* name = "THP";
  const std::string& mode = settings_.transparent_hugepages;
  if (mode.empty()) return ok(name, "not in this kernel");
  if (mode == "always" && wishes_.hugepages) {
    return lacks(Need::kUseful, name,
                 "always: khugepaged works on all memory of the host, and can stall it",
                 "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
                 kernel_parameter("transparent_hugepage=madvise"));
  }
  if (mode == "never" && !wishes_.hugepages) {
    return lacks(Need::kUseful, name, "never: guest memory stays in 4 KiB pages",
                 "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
                 kernel_parameter("transparent_hugepage=madvise"));
  }
  ok(name, mode);
}

void HostCheck::ksm() {
  const char* name = "KSM";
  if (!settings_.ksm) return ok(name, "not in this kernel");
  if (*settings_.ksm != 1) return ok(name, "stopped");
  if (wishes_.merged) return ok(name, "runs");
  lacks(Need::kUseful, name, "runs: ksmd takes CPU time, and merges what is not kept from it",
        "echo 2 > /sys/kernel/mm/ksm/run",
        "systemctl disable --now ksm ksmtuned, as far as they are there");
}

void HostCheck::swap() {
  const char* name = "swap";
  if (settings_.swap.empty()) return ok(name, "none");
  constexpr std::size_t kMost = 3;
  constexpr int kCalm = 10;
  std::vector<std::string> areas;
  for (const SwapArea& area : settings_.swap) {
    areas.push_back(fmt::format("{} of {}", mib(area.size), area.path));
  }
  std::string found = some_of(areas, kMost);
  if (settings_.swappiness) found += fmt::format(", swappiness {}", *settings_.swappiness);
  if (!wishes_.locked && !wishes_.hugepages) {
    return lacks(useful_if(wishes_.pinned), name, found + ": guest memory can be swapped out",
                 "\"lock\": true in the config's memory, or swapoff -a",
                 "no swap line in /etc/fstab");
  }
  if (!settings_.swappiness || *settings_.swappiness <= kCalm) return ok(name, found);
  lacks(Need::kUseful, name,
        found + ": the VM's own memory stays, the host's programs beside it are swapped early",
        fmt::format("sysctl vm.swappiness={}", kCalm),
        fmt::format("vm.swappiness={} in /etc/sysctl.d/vmrig.conf", kCalm));
}

void HostCheck::memlock() {
  const char* name = "memlock";
  const std::string limit =
      facts_.memlock_limit ? to_string(*facts_.memlock_limit) : std::string("unlimited");
  if (!facts_.memlock_limit) return ok(name, limit);
  if (facts_.can_sys_resource) return ok(name, limit + ", raised by vmrig (CAP_SYS_RESOURCE)");
  if (facts_.can_ipc_lock) return ok(name, limit + ", but not for us (CAP_IPC_LOCK)");
  lacks(wishes_.locked ? Need::kRequired : Need::kNone, name,
        limit + ", with neither CAP_IPC_LOCK nor CAP_SYS_RESOURCE",
        "sudo prlimit --pid $$ --memlock=unlimited",
        fmt::format("{} - memlock unlimited in /etc/security/limits.d/vmrig.conf, or "
                    "LimitMEMLOCK=infinity in the systemd unit",
                    settings_.user_name));
}

void HostCheck::numa_balancing() {
  const char* name = "NUMA balancing";
  if (!settings_.numa_balancing) return ok(name, "not in this kernel");
  if (*settings_.numa_balancing == 0) return ok(name, "off");
  if (facts_.nodes.size() < 2) return ok(name, "on, with one node to balance");
  lacks(useful_if(wishes_.pinned), name,
        "on: the kernel unmaps guest memory now and then to see who uses it",
        "sysctl kernel.numa_balancing=0", "kernel.numa_balancing=0 in /etc/sysctl.d/vmrig.conf");
}

}  // namespace vmrig
