#include "hostcfg/facts.hpp"

#include <algorithm>
#include <array>

namespace vmrig {
namespace {

constexpr std::array<std::string_view, 6> kPathTypes = {
    "missing", "file", "directory", "block device", "character device", "other"};

}  // namespace

std::string_view path_type_name(PathFacts::Type type) {
  return kPathTypes.at(static_cast<std::size_t>(type));
}

const CpuFacts* HostFacts::find_cpu(int id) const {
  // Sorted by id, on a live host and in a file alike.
  const auto found = std::lower_bound(cpus.begin(), cpus.end(), id,
                                      [](const CpuFacts& cpu, int key) { return cpu.id < key; });
  return found == cpus.end() || found->id != id ? nullptr : &*found;
}

const NumaNode* HostFacts::find_node(int id) const {
  const auto found = std::find_if(nodes.begin(), nodes.end(),
                                  [id](const NumaNode& node) { return node.id == id; });
  return found == nodes.end() ? nullptr : &*found;
}

CpuSet HostFacts::online() const {
  CpuSet set;
  for (const CpuFacts& cpu : cpus) set.insert(cpu.id);
  return set;
}

CpuSet HostFacts::siblings(int cpu) const {
  CpuSet set;
  const CpuFacts* one = find_cpu(cpu);
  if (one == nullptr) return set;
  set.insert(cpu);
  if (one->core < 0) return set;
  for (const CpuFacts& other : cpus) {
    if (other.core == one->core) set.insert(other.id);
  }
  return set;
}

}  // namespace vmrig
