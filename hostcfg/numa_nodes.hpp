// NUMA nodes with their memory, hugepage pools and distances.
#pragma once

#include <vector>

#include "hostcfg/facts.hpp"
#include "hostcfg/folder_reader.hpp"
#include "hostcfg/topology.hpp"

namespace vmrig {

// The nodes of /sys/devices/system/node, by id. A kernel without NUMA has none there; then the
// nodes of `topology`, the memory of /proc/meminfo and the pools of /sys/kernel/mm on the first.
std::vector<NumaNode> read_numa_nodes(const FolderReader& root, const Topology& topology);

// The pools below a folder `hugepages`, smallest page first.
// Source: linux Documentation/admin-guide/mm/hugetlbpage.rst.
std::vector<HugepagePool> read_hugepage_pools(const FolderReader& parent, const char* folder);

}  // namespace vmrig
