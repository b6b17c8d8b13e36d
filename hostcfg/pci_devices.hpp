// PCI functions, the SR-IOV relations between them included.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "hostcfg/base/pci_address.hpp"
#include "hostcfg/facts.hpp"
#include "hostcfg/folder_reader.hpp"

namespace vmrig {

// All functions, by address. `net_devices` is left empty: see read_net_devices.
// Source: linux Documentation/ABI/testing/sysfs-bus-pci.
std::vector<PciDeviceFacts> read_pci_devices(const FolderReader& root);

// The one at `address` in a list by address; nullptr when there is none.
PciDeviceFacts* find_pci_device(std::vector<PciDeviceFacts>& devices, const PciAddress& address);

// The last part of a sysfs path ("../../devices/pci0000:3a/0000:3b:00.1/net/eno2") that is the
// address of a function.
std::optional<PciAddress> pci_address_in(std::string_view path);

}  // namespace vmrig
