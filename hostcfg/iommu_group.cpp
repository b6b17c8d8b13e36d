#include "hostcfg/iommu_group.hpp"

#include <fmt/format.h>

#include <array>

namespace vmrig {
namespace {

// PCI-PCI, CardBus and semi-transparent bridges: their header is not of the normal type, and the
// port drivers (pcieport, shpchp) do no DMA of their own. Host and ISA bridges are other things.
bool is_bridge(std::uint32_t class_code) {
  const std::uint32_t kind = class_code >> 8;
  return kind == 0x0604 || kind == 0x0607 || kind == 0x0609;
}

GroupMember::Role role_of(const PciDeviceFacts& device) {
  if (is_bridge(device.class_code)) return GroupMember::Role::kBridge;
  if (device.driver.empty()) return GroupMember::Role::kUnbound;
  if (is_vfio_driver(device.driver)) return GroupMember::Role::kVfio;
  if (device.driver == "pci-stub") return GroupMember::Role::kPciStub;
  return GroupMember::Role::kBlocking;
}

std::string joined(const std::vector<std::string>& texts, std::string_view separator) {
  return fmt::format("{}", fmt::join(texts, separator));
}

GroupVerdict without_group(const HostFacts& facts, const PciAddress& wanted) {
  GroupVerdict verdict;
  verdict.diagnosis = fmt::format("{} is in no IOMMU group", wanted.to_string());
  verdict.mend = facts.vfio.iommu
                     ? "take a device that is behind the IOMMU"
                     : "switch the IOMMU on: VT-d or AMD-Vi in the firmware's setup, and on Intel "
                       "intel_iommu=on as a kernel parameter";
  return verdict;
}

void explain(GroupVerdict& verdict, const PciAddress& wanted) {
  std::vector<std::string> blockers;
  bool needed_by_host = false;
  for (const GroupMember& member : verdict.members) {
    if (member.role != GroupMember::Role::kBlocking) continue;
    std::string text = fmt::format("{} ({}", member.address.to_string(), member.driver);
    for (const std::string& use : member.in_use) text += ", " + use;
    blockers.push_back(text + ")");
    needed_by_host |= !member.in_use.empty();
  }
  verdict.diagnosis = fmt::format("group {} of {} is not viable: drivers of the host hold {}",
                                  verdict.group, wanted.to_string(), joined(blockers, ", "));
  const std::string elsewhere =
      "put the device into a slot where it has a group of its own (vmrig vfio list shows groups)";
  verdict.mend = needed_by_host
                     ? elsewhere
                     : fmt::format("take the rest too: vmrig vfio bind --whole-group {}; or {}",
                                   wanted.to_string(), elsewhere);
}

}  // namespace

std::string_view role_name(GroupMember::Role role) {
  static constexpr std::array<std::string_view, 7> kNames = {
      "wanted", "ours", "bridge", "unbound", "vfio", "pci-stub", "blocking"};
  return kNames.at(static_cast<std::size_t>(role));
}

std::vector<PciAddress> GroupVerdict::blocking() const {
  std::vector<PciAddress> addresses;
  for (const GroupMember& member : members) {
    if (member.role == GroupMember::Role::kBlocking) addresses.push_back(member.address);
  }
  return addresses;
}

bool is_vfio_driver(std::string_view driver) {
  // Variants are named after their module: mlx5_vfio_pci, mlx5-vfio-pci, nvgrace-gpu-vfio-pci.
  return driver.ends_with("vfio-pci") || driver.ends_with("vfio_pci");
}

GroupVerdict judge_group(const HostFacts& facts, const PciAddress& wanted,
                         const std::set<PciAddress>& also_ours) {
  const PciDeviceFacts* device = facts.find_pci(wanted);
  if (device == nullptr) {
    GroupVerdict verdict;
    verdict.diagnosis = fmt::format("there is no PCI device {}", wanted.to_string());
    verdict.mend = "vmrig vfio list";
    return verdict;
  }
  if (device->iommu_group < 0) {
    GroupVerdict verdict = without_group(facts, wanted);
    verdict.members.push_back({wanted, GroupMember::Role::kWanted, device->driver, device->in_use});
    return verdict;
  }
  GroupVerdict verdict;
  verdict.group = device->iommu_group;
  verdict.viable = true;
  for (const PciDeviceFacts* member : facts.group_members(device->iommu_group)) {
    GroupMember::Role role = role_of(*member);
    if (member->address == wanted) {
      role = GroupMember::Role::kWanted;
    } else if (also_ours.count(member->address) != 0) {
      role = GroupMember::Role::kOurs;
    }
    if (role == GroupMember::Role::kBlocking) verdict.viable = false;
    verdict.members.push_back({member->address, role, member->driver, member->in_use});
  }
  if (is_bridge(device->class_code)) {
    verdict.viable = false;
    verdict.diagnosis =
        fmt::format("{} is a PCI bridge, which vfio-pci does not take", wanted.to_string());
    verdict.mend = "name the devices behind it";
  } else if (!verdict.viable) {
    explain(verdict, wanted);
  }
  return verdict;
}

}  // namespace vmrig
