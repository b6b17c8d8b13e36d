// Guest memory in hugepages that vmrig gets before QEMU maps it. Plain data, made by the plan.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hostcfg/base/bytes.hpp"
#include "hostcfg/base/cpu_set.hpp"

namespace vmrig {

// Which NUMA nodes pages come from: these alone, these first, or these in turn.
// Source: linux Documentation/admin-guide/mm/numa_memory_policy.rst.
enum class MemoryPolicy { kBind, kPreferred, kInterleave };
std::vector<std::string_view> enum_names(MemoryPolicy);

struct MemoryRegion {
  std::string name;    // of QEMU's backend: "vmrig-mem0"; unique in a VM
  std::string origin;  // config path: "memory"
  Bytes size;          // a multiple of page_size
  Bytes page_size;
  MemoryPolicy policy = MemoryPolicy::kBind;
  CpuSet nodes;                        // NUMA nodes; empty: any
  std::string mount;                   // folder of a hugetlbfs with these pages; empty: a memfd
  CpuSet cpus;                         // a thread on each populates; empty: one, anywhere
  std::optional<unsigned> owner = {};  // uid that opens it once more; none: this process's
  bool operator==(const MemoryRegion&) const = default;
};

// Below /: "sys/devices/system/node/node1/hugepages/hugepages-2048kB"; without a node that of all.
std::string page_pool_folder(std::optional<int> node, Bytes page_size);

}  // namespace vmrig
