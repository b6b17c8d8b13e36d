// What cgroups forbid, and what they could limit.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "hostcfg/host_check_rows.hpp"

namespace vmrig {
namespace {

constexpr std::array<const char*, 3> kWanted = {"cpu", "memory", "pids"};

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

}  // namespace

void HostCheck::cgroup_controllers() {
  const char* name = "cgroup";
  const CgroupSettings& cgroup = settings_.cgroup;
  const Need need = useful_if(wishes_.limits);
  const std::string own = joined(cgroup.controllers);
  if (!cgroup.v1_controllers.empty()) {
    std::vector<std::string> v1 = cgroup.v1_controllers;
    std::sort(v1.begin(), v1.end());
    return lacks(need, name,
                 fmt::format("v1 has {}; v2 has {}: a VM's limits need v2", joined(v1),
                             own.empty() ? "nothing" : own),
                 kernel_parameter("systemd.unified_cgroup_hierarchy=1 cgroup_no_v1=all"));
  }
  if (!cgroup.is_v2) {
    return lacks(need, name, "none is mounted", "mount -t cgroup2 none /sys/fs/cgroup");
  }
  // Where a VM's group would be made, which need not be in our own.
  const CgroupFacts& place = facts_.cgroup;
  const bool is_elsewhere = !place.base.empty();
  std::string missing;
  for (const char* wanted : kWanted) {
    const auto& has = is_elsewhere ? place.controllers : cgroup.controllers;
    if (std::find(has.begin(), has.end(), wanted) == has.end()) {
      missing += (missing.empty() ? "+" : " +") + std::string(wanted);
    }
  }
  if (is_elsewhere && missing.empty()) {
    return ok(name, fmt::format("v2, VMs' groups are made in {}, which has {}", place.base,
                                joined(place.controllers)));
  }
  std::string found =
      fmt::format("v2, {} has {}", cgroup.path, own.empty() ? "no controller" : own);
  if (!missing.empty()) {
    return lacks(
        need, name, std::move(found),
        fmt::format("echo \"{}\" > cgroup.subtree_control, in each cgroup above it", missing),
        "Delegate=yes in the systemd unit");
  }
  if (cgroup.may_divide) return ok(name, found + ", ours to divide");
  lacks(need, name, found + "; not delegated to " + settings_.user_name,
        "systemd-run --user --scope -p Delegate=yes vmrig …", "Delegate=yes in the systemd unit");
}

void HostCheck::cgroup_limits() {
  const char* name = "cgroup limits";
  const CgroupSettings& cgroup = settings_.cgroup;
  constexpr std::uint64_t kFewTasks = 128;  // QEMU's threads, and those of its I/O
  std::string found;
  const auto tell = [&found](const std::string& text) {
    found += (found.empty() ? "" : ", ") + text;
  };
  std::string mend;
  Need need = Need::kNone;
  const auto refuse = [&](Need how, const std::string& text) {
    if (need != Need::kRequired) need = how;
    mend += (mend.empty() ? "" : ", ") + text;
  };
  if (cgroup.memory_max) {
    tell(fmt::format("memory {} MiB", cgroup.memory_max->value >> 20));
    if (!wishes_.hugepages && wishes_.memory >= *cgroup.memory_max) {
      refuse(Need::kRequired, "memory.max (a container: --memory; systemd: MemoryMax=)");
    }
  }
  for (const auto& [page, limit] : cgroup.hugetlb_max) {
    tell(fmt::format("{} MiB in {} pages", limit.value >> 20, to_string(page)));
    const bool ours = wishes_.hugepages && wishes_.page_size == page;
    if (ours && wishes_.memory > limit) {
      refuse(Need::kRequired, page == Bytes::gib(1) ? "hugetlb.1GB.max" : "hugetlb.2MB.max");
    }
  }
  if (cgroup.cpu_max) {
    tell(fmt::format("{:.4g} CPUs' time", *cgroup.cpu_max));
    if (wishes_.pinned || *cgroup.cpu_max < wishes_.vcpus) {
      refuse(Need::kUseful, "cpu.max (a container: --cpus; systemd: CPUQuota=)");
    }
  }
  if (cgroup.pids_max) {
    tell(fmt::format("{} tasks", *cgroup.pids_max));
    if (*cgroup.pids_max < kFewTasks) {
      refuse(Need::kUseful, "pids.max (a container: --pids-limit; systemd: TasksMax=)");
    }
  }
  if (need == Need::kNone) return ok(name, found.empty() ? "none" : found);
  lacks(need, name, found, "raise " + mend);
}

}  // namespace vmrig
