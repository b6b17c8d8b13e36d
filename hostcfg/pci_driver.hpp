// Which driver has a PCI device, and giving it to another.
#pragma once

#include <optional>
#include <string>

#include "hostcfg/base/pci_address.hpp"
#include "hostcfg/host_control.hpp"
#include "hostcfg/sysfs.hpp"

namespace vmrig {

// nullopt when there is no such device.
// Source: linux Documentation/ABI/testing/sysfs-bus-pci (driver_override, since 3.16).
std::optional<DriverState> read_driver_state(const Sysfs& sysfs, const PciAddress& device);

// Override, unbind, probe, each confirmed. Nothing happens when the device is on `driver` by an
// override to it. Throws vmrig::Error naming the device, the driver and why; the device then may
// stand anywhere between, and restore_pci_driver puts it back.
void bind_pci_driver(const Sysfs& sysfs, const PciAddress& device, const std::string& driver);

// Takes the device from its driver, if it has one. Blocks while the driver lets go: vfio-pci waits
// until its last user has closed the device.
void unbind_pci_driver(const Sysfs& sysfs, const PciAddress& device);

// Puts the override back, and then the driver; `old.driver` empty leaves the device without one.
void restore_pci_driver(const Sysfs& sysfs, const PciAddress& device, const DriverState& old);

}  // namespace vmrig
