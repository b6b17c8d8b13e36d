// USB devices of a host.
#pragma once

#include <vector>

#include "hostcfg/facts.hpp"
#include "hostcfg/folder_reader.hpp"

namespace vmrig {

// By bus and address, without hubs, which can't be handed to a VM. `root` is where sys and dev
// are. Source: linux Documentation/ABI/{stable,testing}/sysfs-bus-usb.
std::vector<UsbDeviceFacts> read_usb_devices(const FolderReader& root);

}  // namespace vmrig
