// Where the guest's memory comes from: nodes, pages, files. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "devices/memory.hpp"
#include "devices/memory_device.hpp"
#include "launcher/plan.hpp"

namespace vmrig {

// The host NUMA nodes that the config's policy is about, by the node that the placement has chosen
// (of memory that is bound or preferred); empty: any.
CpuSet memory_nodes(const VmConfig& config, const HostFacts& facts, std::optional<int> chosen);

// A part of the guest's memory that has a backend of its own.
struct MemoryPart {
  std::string id;      // of the backend
  std::string origin;  // config path: "memory", "memory.devices[0]"
  Bytes size;
  Bytes page_size;  // 0: ordinary pages
  MemoryPolicy policy = MemoryPolicy::kBind;
  CpuSet nodes;             // host NUMA nodes; empty: any
  bool prealloc = false;    // with hugepages: populated by vmrig before QEMU starts
  bool is_elastic = false;  // virtio-mem: takes its pages as it gives them
  bool is_huge() const { return page_size.value > 0; }
};

MemoryPart memory_part_of(const MemoryDeviceConfig& device, std::string origin,
                          const VmConfig& config, HugepageSize hugepages, const CpuSet& nodes);

// Whether the part's hugepages are a file of a hugetlbfs; else they are a memfd. A user who may
// make no file there gets only what vmrig has populated.
bool comes_from_hugetlbfs(const MemoryPart& part, const MemoryConfig& memory, const QemuUser& user);

// The hugetlbfs with these pages: one that is mounted, else the place where vmrig mounts its own.
struct HugetlbfsPlace {
  std::string path;
  bool is_own = false;
};
HugetlbfsPlace hugetlbfs_place(const PlanInput& input, Bytes page_size);

// How QEMU gets the part. One of hugepages that is preallocated is added to `regions`, and its file
// to what QEMU inherits (`fds` numbers it).
MemoryBackend plan_backend(const PlanInput& input, const MemoryPart& part, const Plan& plan,
                           std::vector<MemoryRegion>& regions, const FdNaming& fds);

// CPUs near `nodes` (empty: anywhere) for threads that populate memory, 16 at most: the VM's own
// and those that serve everybody, none that another VM holds.
CpuSet populating_cpus(const PlanInput& input, const ThreadPlacement& placement,
                       const CpuSet& nodes);

}  // namespace vmrig
