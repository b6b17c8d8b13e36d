// Where this process stands in the cgroup hierarchies, and where these are visible.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "hostcfg/mounts.hpp"

namespace vmrig {

struct CgroupMembership {
  std::map<std::string, std::string, std::less<>> v1;  // path by controller ("cpuset")
  std::optional<std::string> v2;
};

// Reads the text of /proc/self/cgroup; lines that make no sense are left out.
// Source: cgroups(7).
CgroupMembership parse_membership(std::string_view text);

// The folder of the cgroup `path` below a mount that may show a part of the hierarchy only (a
// container's), relative to the root folder ("sys/fs/cgroup/user.slice"). Where it is not in that
// part, the mount's own top: the nearest that can be seen. `top` is the length of that part.
struct CgroupFolder {
  std::string path;
  std::size_t top = 0;

  // To the parent; false at the top.
  bool ascend();
};

CgroupFolder cgroup_folder(const Mount& mount, const std::string& path);

}  // namespace vmrig
