#include "hostcfg/cgroup_path.hpp"

#include "hostcfg/folder_reader.hpp"

namespace vmrig {
namespace {

// `path` of a cgroup as a path below a mount that shows the part of the hierarchy from
// `mount_root` on; empty when the mount shows another part.
std::string below_mount(const std::string& path, const std::string& mount_root) {
  if (path.find("/..") != std::string::npos) return {};  // outside the cgroup namespace
  if (mount_root == "/") return path == "/" ? "" : path;
  if (path.compare(0, mount_root.size(), mount_root) != 0) return {};
  const std::string rest = path.substr(mount_root.size());
  return rest.empty() || rest.front() == '/' ? rest : "";
}

}  // namespace

CgroupMembership parse_membership(std::string_view text) {
  CgroupMembership membership;
  while (!text.empty()) {
    // 3:cpuset:/docker/1234, and 0::/user.slice for v2
    const std::string_view line = take_line(text);
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    std::string_view controllers = line.substr(first + 1, second - first - 1);
    const std::string_view path = line.substr(second + 1);
    if (path.empty() || path.front() != '/' || path.find('\0') != std::string_view::npos) continue;
    if (line.substr(0, first) == "0" && controllers.empty()) membership.v2 = path;
    while (!controllers.empty()) {
      const std::size_t comma = controllers.find(',');
      membership.v1.insert_or_assign(std::string(controllers.substr(0, comma)), std::string(path));
      controllers = comma == std::string_view::npos ? "" : controllers.substr(comma + 1);
    }
  }
  return membership;
}

bool CgroupFolder::ascend() {
  const std::size_t slash = path.rfind('/');
  if (path.size() <= top || slash == std::string::npos || slash < top) return false;
  path.resize(slash);
  return true;
}

CgroupFolder cgroup_folder(const Mount& mount, const std::string& path) {
  const std::string top = mount.point == "/" ? "." : mount.point.substr(1);
  return {.path = top + below_mount(path, mount.root), .top = top.size()};
}

}  // namespace vmrig
