// The network devices of this network namespace.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "hostcfg/facts.hpp"
#include "hostcfg/folder_reader.hpp"
#include "hostcfg/net_control.hpp"

namespace vmrig {

// By index. Notes each physical one in `pci` (a list by address) too.
// Source: linux Documentation/ABI/testing/sysfs-class-net.
std::vector<NetDeviceFacts> read_net_devices(const FolderReader& root,
                                             std::vector<PciDeviceFacts>& pci);

// What netlink alone tells of them, by index.
struct NetLinks {
  std::vector<LinkState> links;
  std::map<int, std::vector<std::string>> addresses;  // in CIDR
};

// Of this network namespace; empty where netlink is not to be had.
NetLinks read_net_links();

void add_net_links(const NetLinks& links, std::vector<NetDeviceFacts>& devices);

}  // namespace vmrig
