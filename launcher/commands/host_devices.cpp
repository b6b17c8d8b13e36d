#include "launcher/commands/host_devices.hpp"

#include <fmt/format.h>

#include <optional>
#include <stdexcept>

#include "hostcfg/read_facts.hpp"
#include "launcher/commands/environment.hpp"

namespace vmrig {

HostFacts read_device_facts() { return read_host_facts(FactsRequest{}, Topology::of_this_host()); }

std::vector<Lease> leases_of_all(const Context& context) {
  const std::optional<StateRoot> root = StateRoot::open_existing(state_folder(context));
  return root ? root->leases() : std::vector<Lease>();
}

const PciDeviceFacts& find_device(const HostFacts& facts, const std::string& address) {
  std::optional<PciAddress> wanted;
  try {
    wanted = PciAddress::parse(address);
  } catch (const std::invalid_argument& fault) {
    throw Error({.status = ExitStatus::kUsage,
                 .operation = "find device",
                 .object = address,
                 .cause = fault.what(),
                 .mend = "vmrig vfio list"});
  }
  if (const PciDeviceFacts* device = facts.find_pci(*wanted)) return *device;
  throw Error({.status = ExitStatus::kHost,
               .operation = "find device",
               .object = address,
               .cause = "this host has none of that address",
               .mend = "vmrig vfio list"});
}

const PciDeviceFacts& find_pf(const HostFacts& facts, const std::string& name) {
  const PciDeviceFacts* device = nullptr;
  if (const NetDeviceFacts* net = facts.find_net(name)) {
    if (net->pci) device = facts.find_pci(*net->pci);
  } else {
    try {
      device = facts.find_pci(PciAddress::parse(name));
    } catch (const std::invalid_argument&) {
      device = nullptr;  // neither
    }
  }
  if (device != nullptr && device->total_vfs > 0) return *device;
  throw Error({.status = ExitStatus::kHost,
               .operation = "find PF",
               .object = name,
               .cause = device == nullptr ? "this host has no such device" : "it has no SR-IOV",
               .mend = "vmrig sriov list"});
}

std::string name_of_pf(const HostFacts& facts, const PciAddress& pf) {
  const PciDeviceFacts* device = facts.find_pci(pf);
  return device == nullptr || device->net_devices.empty() ? pf.to_string()
                                                          : device->net_devices.front();
}

bool is_bridge(const PciDeviceFacts& device) {
  constexpr std::uint32_t kBridgeClass = 0x06;
  return device.class_code >> 16 == kBridgeClass;
}

DeviceNames::DeviceNames(const std::vector<PciDeviceFacts>& devices) {
  std::vector<std::pair<std::uint16_t, std::uint16_t>> ids;
  ids.reserve(devices.size());
  for (const PciDeviceFacts& device : devices) ids.emplace_back(device.vendor, device.device);
  names_ = find_pci_names(ids);
}

std::string DeviceNames::name(const PciDeviceFacts& device) const {
  const auto found = names_.find({device.vendor, device.device});
  if (found == names_.end()) return {};
  const PciName& name = found->second;
  return name.device.empty() ? name.vendor : name.device;
}

std::string DeviceNames::of(const PciDeviceFacts& device) const {
  const std::string known = name(device);
  return fmt::format("{:04x}:{:04x}{}{}", device.vendor, device.device, known.empty() ? "" : " ",
                     known);
}

}  // namespace vmrig
