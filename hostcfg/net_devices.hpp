// The network devices of this network namespace.
#pragma once

#include <vector>

#include "hostcfg/facts.hpp"
#include "hostcfg/folder_reader.hpp"

namespace vmrig {

// By index. Notes each physical one in `pci` (a list by address) too.
// Source: linux Documentation/ABI/testing/sysfs-class-net.
std::vector<NetDeviceFacts> read_net_devices(const FolderReader& root,
                                             std::vector<PciDeviceFacts>& pci);

}  // namespace vmrig
