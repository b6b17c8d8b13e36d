// Addresses of network devices. Source: rtnetlink(7), linux include/uapi/linux/if_addr.h.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "hostcfg/net_control.hpp"
#include "hostcfg/netlink.hpp"

namespace vmrig {

// In CIDR, by index of the device, link-local IPv6 left out. Throws vmrig::Error.
std::map<int, std::vector<std::string>> read_addresses(NetlinkSocket& socket);

// `cidr` is an address with its prefix length, "192.0.2.1/24". Each throws vmrig::Error, also when
// it is none.
bool has_address(NetlinkSocket& socket, const LinkState& link, const std::string& cidr);
// IPv6 is there at once: no other host is asked about it first.
void add_address(NetlinkSocket& socket, const LinkState& link, const std::string& cidr);
// Nothing when it is gone already.
void remove_address(NetlinkSocket& socket, const LinkState& link, const std::string& cidr);

}  // namespace vmrig
