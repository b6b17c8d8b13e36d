// What the commands on PCI devices and VFs share.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "hostcfg/base/pci_address.hpp"
#include "hostcfg/facts.hpp"
#include "hostcfg/host_lease.hpp"
#include "hostcfg/pci_ids.hpp"
#include "launcher/cli/command_line.hpp"
#include "launcher/leases.hpp"
#include "launcher/state_dir.hpp"

namespace vmrig {

// This host with its devices.
HostFacts read_device_facts();

// What living VMs hold; nothing where there is no state folder.
std::vector<Lease> leases_of_all(const Context& context);

// Throws Error (kUsage) for a text that is no address, kHost for a device that is not there.
const PciDeviceFacts& find_device(const HostFacts& facts, const std::string& address);

// By the name of its network device, or its address. Throws Error (kHost) when it is no PF.
const PciDeviceFacts& find_pf(const HostFacts& facts, const std::string& name);

// The PF's network device, else its address.
std::string name_of_pf(const HostFacts& facts, const PciAddress& pf);

// A PCI bridge: nothing that a guest could be given.
bool is_bridge(const PciDeviceFacts& device);

// Names from pci.ids, or ids where it does not know them: "8086:1563 Ethernet Controller X550".
class DeviceNames {
 public:
  explicit DeviceNames(const std::vector<PciDeviceFacts>& devices);
  std::string of(const PciDeviceFacts& device) const;    // ids, and the name
  std::string name(const PciDeviceFacts& device) const;  // empty: unknown

 private:
  std::map<std::pair<std::uint16_t, std::uint16_t>, PciName> names_;
};

}  // namespace vmrig
