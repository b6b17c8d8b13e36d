#include "launcher/memory_plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace vmrig {
namespace {

constexpr std::size_t kMostThreads = 16;

CpuSet cpus_of_nodes(const HostFacts& facts, const CpuSet& nodes) {
  CpuSet cpus;
  for (const NumaNode& node : facts.nodes) {
    if (nodes.empty() || nodes.contains(node.id)) cpus = cpus | node.cpus;
  }
  return cpus;
}

CpuSet own_cpus(const ThreadPlacement& placement) {
  CpuSet cpus = placement.emulator;
  for (const CpuSet& vcpu : placement.vcpus) cpus = cpus | vcpu;
  for (const auto& [id, iothread] : placement.iothreads) cpus = cpus | iothread;
  return cpus;
}

CpuSet first_of(const CpuSet& cpus, std::size_t count) {
  std::vector<int> list = cpus.cpus();
  list.resize(std::min(list.size(), count));
  CpuSet set;
  for (const int cpu : list) set.insert(cpu);
  return set;
}

}  // namespace

CpuSet memory_nodes(const VmConfig& config, const HostFacts& facts, std::optional<int> chosen) {
  const MemoryConfig& memory = config.memory;
  if (!memory.nodes.empty()) return memory.nodes;
  CpuSet nodes;
  const bool is_auto = memory.node_mode == Pinning::Mode::kAuto;
  if (memory.policy == MemoryPolicy::kInterleave && is_auto) {
    for (const NumaNode& node : facts.nodes) {
      if (facts.allowed_nodes.contains(node.id) && node.memory_total.value > 0) {
        nodes.insert(node.id);
      }
    }
  } else if (chosen) {
    nodes.insert(*chosen);
  }
  return nodes;
}

MemoryPart memory_part_of(const MemoryDeviceConfig& device, std::string origin,
                          const VmConfig& config, HugepageSize hugepages, const CpuSet& nodes) {
  MemoryPart part{.id = device.id + "-mem",
                  .origin = std::move(origin),
                  .size = device.size,
                  .page_size = page_size_of(device.hugepages.value_or(hugepages)),
                  .policy = config.memory.policy,
                  .nodes = nodes,
                  .prealloc = config.memory.prealloc,
                  .is_elastic = device.kind == MemoryDeviceKind::kVirtioMem};
  if (part.is_elastic) part.prealloc = false;
  if (device.node) {
    part.policy = MemoryPolicy::kBind;
    part.nodes = {*device.node};
  }
  return part;
}

bool comes_from_hugetlbfs(const MemoryPart& part, const MemoryConfig& memory,
                          const QemuUser& user) {
  return memory.backing == MemoryBacking::kHugetlbfs && (part.prealloc || !user.is_confined);
}

HugetlbfsPlace hugetlbfs_place(const PlanInput& input, Bytes page_size) {
  const std::string own = fmt::format("{}/.hugetlbfs-{}", input.state_folder, to_string(page_size));
  for (const HugetlbfsMount& mount : input.facts.hugetlbfs) {
    if (mount.page_size == page_size && mount.path != own) return {mount.path, false};
  }
  return {own, true};
}

MemoryBackend plan_backend(const PlanInput& input, const MemoryPart& part, const Plan& plan,
                           std::vector<MemoryRegion>& regions, const FdNaming& fds) {
  const MemoryConfig& memory = plan.config.memory;
  const bool is_populated = part.is_huge() && part.prealloc;
  // On a host of one node there is nothing to choose, and kernels without NUMA refuse to.
  const bool has_nodes = input.facts.nodes.size() > 1 && !part.nodes.empty();
  const CpuSet cpus = populating_cpus(input, plan.placement, part.nodes);
  MemoryBackend backend{.id = part.id,
                        .kind = MemoryBackend::Kind::kAnonymous,
                        .size = part.size,
                        .page_size = part.page_size,
                        .mem_path = {},
                        .prealloc = part.prealloc,
                        .prealloc_threads = std::max(1, static_cast<int>(cpus.size())),
                        .merge = memory.merge,
                        .share = memory.share,
                        .policy = part.policy,
                        .nodes = has_nodes ? part.nodes : CpuSet()};
  const bool is_memfd = part.is_huge() ? !comes_from_hugetlbfs(part, memory, plan.user)
                                       : memory.backing == MemoryBacking::kMemfd;
  if (is_populated) {
    regions.push_back(
        {.name = part.id,
         .origin = part.origin,
         .size = part.size,
         .page_size = part.page_size,
         .policy = part.policy,
         .nodes = backend.nodes,
         .mount = is_memfd ? "" : hugetlbfs_place(input, part.page_size).path,
         .cpus = cpus,
         .owner = plan.user.is_confined ? std::optional(plan.user.account.uid) : std::nullopt});
    backend.kind = MemoryBackend::Kind::kHugetlbfs;
    backend.mem_path = "/proc/self/fd/" + fds({FdSource::Kind::kMemory, part.id});
    backend.share = true;  // the pages are in the file, and have to be used from there
    // The kernel would try to move pages that came from elsewhere, and QEMU end when it can't.
    if (part.policy == MemoryPolicy::kPreferred) backend.nodes = {};
  } else if (is_memfd || (!part.is_huge() && backend.share)) {
    // Ordinary memory that others map has to be a file, too.
    backend.kind = MemoryBackend::Kind::kMemfd;
  } else if (part.is_huge()) {
    backend.kind = MemoryBackend::Kind::kHugetlbfs;
    backend.mem_path = hugetlbfs_place(input, part.page_size).path;
  }
  return backend;
}

CpuSet populating_cpus(const PlanInput& input, const ThreadPlacement& placement,
                       const CpuSet& nodes) {
  const HostFacts& facts = input.facts;
  CpuSet held;
  for (const Lease& lease : input.leases) held = held | lease.exclusive_cpus;
  const CpuSet usable = (facts.allowed & facts.online()) - held;
  CpuSet near = usable & cpus_of_nodes(facts, nodes);
  if (near.empty()) near = usable;  // a node without CPUs
  const CpuSet own = near & own_cpus(placement);
  const CpuSet others = near - facts.isolated - own;
  CpuSet chosen = first_of(own, kMostThreads);
  chosen = chosen | first_of(others, kMostThreads - chosen.size());
  return chosen.empty() ? first_of(near, kMostThreads) : chosen;
}

}  // namespace vmrig
