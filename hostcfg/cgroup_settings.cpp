#include "hostcfg/cgroup_settings.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "hostcfg/cgroup_path.hpp"

namespace vmrig {
namespace {

// v1 has no word for "no limit": the largest number of pages stands for it.
// Source: linux include/linux/page_counter.h PAGE_COUNTER_MAX.
constexpr std::uint64_t kNoLimit = std::uint64_t{1} << 62;

struct PageName {
  Bytes size;
  const char* name;
};
constexpr std::array<PageName, 2> kPages = {
    {{Bytes::mib(2), "hugetlb.2MB"}, {Bytes::gib(1), "hugetlb.1GB"}}};

template <typename Number>
void tighten(std::optional<Number>& limit, const Number& other) {
  if (!limit || other < *limit) limit = other;
}

// "max" is no number, and so no limit.
std::optional<std::uint64_t> limit_at(const FolderReader& folder, const std::string& name) {
  const auto number = folder.number<std::uint64_t>(name.c_str());
  return number && *number < kNoLimit ? number : std::nullopt;
}

void read_memory(const FolderReader& folder, const char* name, CgroupSettings& cgroup) {
  if (const auto limit = limit_at(folder, name)) tighten(cgroup.memory_max, Bytes{*limit});
}

void read_pids(const FolderReader& folder, CgroupSettings& cgroup) {
  if (const auto limit = limit_at(folder, "pids.max")) tighten(cgroup.pids_max, *limit);
}

void read_hugetlb(const FolderReader& folder, const char* ending, CgroupSettings& cgroup) {
  for (const PageName& page : kPages) {
    const auto limit = limit_at(folder, std::string(page.name) + ending);
    if (!limit) continue;
    const auto [known, is_new] = cgroup.hugetlb_max.emplace(page.size, Bytes{*limit});
    if (!is_new) known->second = std::min(known->second, Bytes{*limit});
  }
}

// Microseconds of CPU time in each period. A quota of "max" or -1 is none.
void read_quota(std::string_view quota, std::string_view period, CgroupSettings& cgroup) {
  const auto time = parse_number<std::uint64_t>(quota);
  const auto every = parse_number<std::uint64_t>(period);
  if (!time || !every || *every == 0) return;
  tighten(cgroup.cpu_max, static_cast<double>(*time) / static_cast<double>(*every));
}

void read_v2(const FolderReader& folder, CgroupSettings& cgroup) {
  read_memory(folder, "memory.max", cgroup);
  read_pids(folder, cgroup);
  read_hugetlb(folder, ".max", cgroup);
  if (const auto text = folder.attribute("cpu.max")) {  // "200000 100000"
    std::string_view rest = *text;
    const std::string_view quota = take_word(rest);
    read_quota(quota, rest, cgroup);
  }
}

void read_v1(const FolderReader& folder, std::string_view controller, CgroupSettings& cgroup) {
  if (controller == "memory") read_memory(folder, "memory.limit_in_bytes", cgroup);
  if (controller == "pids") read_pids(folder, cgroup);
  if (controller == "hugetlb") read_hugetlb(folder, ".limit_in_bytes", cgroup);
  if (controller != "cpu") return;
  const auto quota = folder.attribute("cpu.cfs_quota_us");
  const auto period = folder.attribute("cpu.cfs_period_us");
  if (quota && period) read_quota(*quota, *period, cgroup);
}

template <typename Read>
void read_upwards(const FolderReader& root, CgroupFolder folder, const Read& read) {
  do {
    if (const auto opened = root.folder(folder.path.c_str())) read(*opened);
  } while (folder.ascend());
}

std::vector<std::string> words(std::string_view text) {
  std::vector<std::string> list;
  while (!(text = trimmed(text)).empty()) list.emplace_back(take_word(text));
  return list;
}

void read_own(const FolderReader& root, const CgroupFolder& own, const std::string& path,
              CgroupSettings& cgroup) {
  cgroup.is_v2 = true;
  cgroup.path = path;
  const std::optional<FolderReader> folder = root.folder(own.path.c_str());
  if (!folder) return;
  cgroup.controllers = words(folder->attribute("cgroup.controllers").value_or(std::string{}));
  const auto writable = [&folder](const char* name) {
    return ::faccessat(folder->fd(), name, W_OK, AT_EACCESS) == 0;
  };
  cgroup.may_divide =
      writable(".") && writable("cgroup.procs") && writable("cgroup.subtree_control");
}

}  // namespace

CgroupSettings read_cgroup_settings(const FolderReader& root, const std::vector<Mount>& mounts) {
  constexpr std::size_t kLimit = std::size_t{64} * 1024;
  CgroupSettings cgroup;
  const CgroupMembership membership =
      parse_membership(root.text("proc/self/cgroup", kLimit).value_or(std::string{}));
  for (const Mount& mount : mounts) {
    if (mount.type == "cgroup2" && membership.v2) {
      const CgroupFolder own = cgroup_folder(mount, *membership.v2);
      read_own(root, own, *membership.v2, cgroup);
      read_upwards(root, own, [&](const FolderReader& folder) { read_v2(folder, cgroup); });
    }
    if (mount.type != "cgroup") continue;
    for (const auto& [controller, path] : membership.v1) {
      if (!has_option(mount.super_options, controller)) continue;
      if (controller.find('=') == std::string::npos) cgroup.v1_controllers.push_back(controller);
      read_upwards(root, cgroup_folder(mount, path),
                   [&, name = std::string_view(controller)](const FolderReader& folder) {
                     read_v1(folder, name, cgroup);
                   });
    }
  }
  return cgroup;
}

}  // namespace vmrig
