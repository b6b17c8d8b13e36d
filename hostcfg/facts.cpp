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

const PciDeviceFacts* HostFacts::find_pci(const PciAddress& address) const {
  const auto found = std::find_if(pci.begin(), pci.end(), [&](const PciDeviceFacts& device) {
    return device.address == address;
  });
  return found == pci.end() ? nullptr : &*found;
}

const NetDeviceFacts* HostFacts::find_net(std::string_view name) const {
  const auto found = std::find_if(
      net.begin(), net.end(), [&](const NetDeviceFacts& device) { return device.name == name; });
  return found == net.end() ? nullptr : &*found;
}

std::vector<const PciDeviceFacts*> HostFacts::vfs_of(const PciAddress& pf) const {
  std::vector<const PciDeviceFacts*> vfs;
  for (const PciDeviceFacts& device : pci) {
    if (device.physical_function == pf) vfs.push_back(&device);
  }
  std::sort(vfs.begin(), vfs.end(), [](const PciDeviceFacts* a, const PciDeviceFacts* b) {
    return a->vf_index < b->vf_index;
  });
  return vfs;
}

const VfRecord* HostFacts::find_vf_record(const PciAddress& pf, int index) const {
  const PciDeviceFacts* device = find_pci(pf);
  if (device == nullptr) return nullptr;
  const auto found =
      std::find_if(device->vf_records.begin(), device->vf_records.end(),
                   [index](const VfRecord& record) { return record.index == index; });
  return found == device->vf_records.end() ? nullptr : &*found;
}

std::vector<const PciDeviceFacts*> HostFacts::group_members(int group) const {
  std::vector<const PciDeviceFacts*> members;
  if (group < 0) return members;
  for (const PciDeviceFacts& device : pci) {
    if (device.iommu_group == group) members.push_back(&device);
  }
  std::sort(members.begin(), members.end(), [](const PciDeviceFacts* a, const PciDeviceFacts* b) {
    return a->address < b->address;
  });
  return members;
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

bool HostFacts::is_block_device(const std::string& path) const {
  const auto found = paths.find(path);
  return found != paths.end() && found->second.type == PathFacts::Type::kBlockDevice;
}

}  // namespace vmrig
