// Which USB devices of the host a VM gets.
#pragma once

#include <string>
#include <vector>

#include "launcher/plan.hpp"

namespace vmrig {

// "1.5": bus and address, as leases name a USB device.
std::string usb_place(const UsbDeviceFacts& device);

// Settles what is free to be chosen: of the VM's USB devices, those of type host get bus and
// address where their make alone would not tell one. The places are appended to `claimed`; faults
// to `findings`: no such device, held by another VM, not to be opened.
std::vector<UsbConfig> choose_usb(const PlanInput& input, std::vector<std::string>& claimed,
                                  std::vector<Diagnostic>& findings);

}  // namespace vmrig
