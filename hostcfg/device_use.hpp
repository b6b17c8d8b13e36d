// Why the host needs a PCI device where it is.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "hostcfg/base/pci_address.hpp"
#include "hostcfg/block_use.hpp"
#include "hostcfg/folder_reader.hpp"

namespace vmrig {

// Addresses of network devices by name. sysfs has none, so they are read by netlink.
using NetAddresses = std::map<std::string, std::vector<std::string>>;

// The addresses of this network namespace, link-local ones left out: the kernel gives those to
// each device that is up.
NetAddresses read_net_addresses();

// One line a reason ("eno1 is up with 192.0.2.1", "eno1 has the default route", "eno1 is a port
// of br0", "nvme0n1p2 is mounted on /", "the host's console is on it"); empty: nobody needs it.
// A network device that is down needs nothing. Mounts are those of this mount namespace.
// Source: proc(5), linux Documentation/ABI/{stable,testing}/sysfs-{block,class-net}.
std::vector<std::string> find_uses(const FolderReader& root, const PciAddress& device,
                                   const NetAddresses& addresses, const BlockUses& blocks);

// The devices on top of the network device in this folder, by name: its bridge or bond, macvlans,
// VLANs.
std::vector<std::string> upper_devices(const FolderReader& net_device);

}  // namespace vmrig
