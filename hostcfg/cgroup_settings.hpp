// The cgroups that this process is in.
#pragma once

#include <vector>

#include "hostcfg/folder_reader.hpp"
#include "hostcfg/host_settings.hpp"
#include "hostcfg/mounts.hpp"

namespace vmrig {

CgroupSettings read_cgroup_settings(const FolderReader& root, const std::vector<Mount>& mounts);

}  // namespace vmrig
