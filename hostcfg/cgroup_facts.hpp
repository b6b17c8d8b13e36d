// Where a VM's own cgroup can be made.
#pragma once

#include <vector>

#include "hostcfg/facts.hpp"
#include "hostcfg/folder_reader.hpp"
#include "hostcfg/mounts.hpp"

namespace vmrig {

// Source: linux Documentation/admin-guide/cgroup-v2.rst, "Delegation"; systemd's
// CGROUP_DELEGATION.md, which marks what it has delegated by an extended attribute.
CgroupFacts read_cgroup_facts(const FolderReader& root, const std::vector<Mount>& mounts);

}  // namespace vmrig
