#include "hostcfg/cpuset.hpp"

#include <algorithm>

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

// `path` of a cgroup as a path below a mount that shows the part of the hierarchy from
// `mount_root` on; empty when the mount shows another part.
std::string below_mount(const std::string& path, const std::string& mount_root) {
  if (path.find("/..") != std::string::npos) return {};  // outside the cgroup namespace
  if (mount_root == "/") return path == "/" ? "" : path;
  if (path.compare(0, mount_root.size(), mount_root) != 0) return {};
  const std::string rest = path.substr(mount_root.size());
  return rest.empty() || rest.front() == '/' ? rest : "";
}

void read_upwards(const FolderReader& root, const Mount& mount, const std::string& cgroup,
                  const Names& names, Cpuset& cpuset) {
  const std::string top = mount.point.substr(1);  // relative to the root folder
  std::string path = below_mount(cgroup, mount.root);
  for (;;) {
    const std::string folder = top + path;
    if (!cpuset.cpus) cpuset.cpus = list_at(root, folder, names.cpus);
    if (!cpuset.nodes) cpuset.nodes = list_at(root, folder, names.nodes);
    const std::size_t slash = path.rfind('/');
    if ((cpuset.cpus && cpuset.nodes) || slash == std::string::npos) return;
    path.resize(slash);
  }
}

struct Membership {
  std::optional<std::string> v1;  // path in the v1 cpuset hierarchy
  std::optional<std::string> v2;
};

Membership read_membership(std::string_view text) {
  Membership membership;
  while (!text.empty()) {
    // 3:cpuset:/docker/1234, and 0::/user.slice for v2
    const std::string_view line = take_line(text);
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    const std::string_view path = line.substr(second + 1);
    if (path.empty() || path.front() != '/' || path.find('\0') != std::string_view::npos) continue;
    if (line.substr(0, first) == "0" && controllers.empty()) membership.v2 = path;
    if (has_option(controllers, "cpuset")) membership.v1 = path;
  }
  return membership;
}

}  // namespace

Cpuset read_cpuset(const FolderReader& root, const std::vector<Mount>& mounts) {
  constexpr std::size_t kLimit = std::size_t{64} * 1024;
  Cpuset cpuset;
  const Membership membership =
      read_membership(root.text("proc/self/cgroup", kLimit).value_or(std::string{}));
  for (const Mount& mount : mounts) {
    // A controller is in one hierarchy only: with a v1 cpuset, v2 has no cpuset files.
    if (mount.type == "cgroup" && membership.v1 && has_option(mount.super_options, "cpuset")) {
      read_upwards(root, mount, *membership.v1, kV1, cpuset);
      read_upwards(root, mount, *membership.v1, kOldV1, cpuset);
    }
    if (mount.type == "cgroup2" && membership.v2) {
      if (!membership.v1) read_upwards(root, mount, *membership.v2, kV2, cpuset);
      const std::string isolated = mount.point.substr(1) + "/cpuset.cpus.isolated";
      cpuset.isolated = root.cpulist(isolated.c_str()).value_or(CpuSet{});
    }
  }
  return cpuset;
}

}  // namespace vmrig
