#include "hostcfg/cpuset.hpp"

#include "hostcfg/cgroup_path.hpp"

namespace vmrig {
namespace {

struct Names {
  const char* cpus;
  const char* nodes;
};

constexpr Names kV2 = {"cpuset.cpus.effective", "cpuset.mems.effective"};
constexpr Names kV1 = {"cpuset.effective_cpus", "cpuset.effective_mems"};
constexpr Names kOldV1 = {"cpuset.cpus", "cpuset.mems"};  // before linux 3.17

// An empty list is a cgroup that inherits, or a file that is not one: it limits nothing.
std::optional<CpuSet> list_at(const FolderReader& root, const std::string& folder,
                              const char* name) {
  std::optional<CpuSet> list = root.cpulist((folder + "/" + name).c_str());
  if (list && list->empty()) list.reset();
  return list;
}

void read_upwards(const FolderReader& root, const Mount& mount, const std::string& cgroup,
                  const Names& names, Cpuset& cpuset) {
  CgroupFolder folder = cgroup_folder(mount, cgroup);
  do {
    if (!cpuset.cpus) cpuset.cpus = list_at(root, folder.path, names.cpus);
    if (!cpuset.nodes) cpuset.nodes = list_at(root, folder.path, names.nodes);
  } while (!(cpuset.cpus && cpuset.nodes) && folder.ascend());
}

}  // namespace

Cpuset read_cpuset(const FolderReader& root, const std::vector<Mount>& mounts) {
  constexpr std::size_t kLimit = std::size_t{64} * 1024;
  Cpuset cpuset;
  const CgroupMembership membership =
      parse_membership(root.text("proc/self/cgroup", kLimit).value_or(std::string{}));
  const auto v1 = membership.v1.find("cpuset");
  const bool is_v1 = v1 != membership.v1.end();
  for (const Mount& mount : mounts) {
    // A controller is in one hierarchy only: with a v1 cpuset, v2 has no cpuset files.
    if (mount.type == "cgroup" && is_v1 && has_option(mount.super_options, "cpuset")) {
      read_upwards(root, mount, v1->second, kV1, cpuset);
      read_upwards(root, mount, v1->second, kOldV1, cpuset);
    }
    if (mount.type == "cgroup2" && membership.v2) {
      if (!is_v1) read_upwards(root, mount, *membership.v2, kV2, cpuset);
      const std::string isolated = mount.point.substr(1) + "/cpuset.cpus.isolated";
      cpuset.isolated = root.cpulist(isolated.c_str()).value_or(CpuSet{});
    }
  }
  return cpuset;
}

}  // namespace vmrig
