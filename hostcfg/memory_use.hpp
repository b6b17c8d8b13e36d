// What a process's memory is made of: its large mappings, page by page.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "hostcfg/base/bytes.hpp"
#include "hostcfg/folder_reader.hpp"

namespace vmrig {

struct MemoryMapping {
  std::uint64_t begin = 0;
  Bytes size;
  Bytes page_size;             // the kernel's, of what is not transparently huge
  Bytes populated;             // on all nodes
  std::map<int, Bytes> nodes;  // what lies on each NUMA node; empty where there is no NUMA
  bool is_hugetlb = false;
  bool is_locked = false;  // mlock(2); what is hugetlb is never said to be
};

// Those of at least `least` bytes, by address. `root` is the host's /. Empty when the process is
// gone or another's. Takes as long as the kernel's walk of its pages.
// Source: proc_pid_smaps(5), proc_pid_numa_maps(5).
std::vector<MemoryMapping> read_memory_mappings(const FolderReader& root, pid_t pid, Bytes least);

// Hugepages by NUMA node and size.
using HugetlbUse = std::map<std::pair<int, Bytes>, std::uint64_t>;

// The hugetlb pages that a process has mapped; on kernels without NUMA all on node 0. Empty when
// the process is gone or another's. Source: as above, and HugetlbPages of proc_pid_status(5).
HugetlbUse read_hugetlb_use(const FolderReader& root, pid_t pid);

// VmLck of /proc/PID/status: what is locked, without hugepages.
Bytes read_locked(const FolderReader& root, pid_t pid);

}  // namespace vmrig
