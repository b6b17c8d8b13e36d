// Linux bridges and their ports. Source: linux Documentation/networking/bridge.rst,
// include/uapi/linux/{if_link,if_bridge}.h.
#pragma once

#include <string>
#include <vector>

#include "hostcfg/net_control.hpp"
#include "hostcfg/netlink.hpp"

namespace vmrig {

// As NetControl has them. A bridge that is there already is taken when it can do what is asked for.
void create_bridge(NetlinkSocket& socket, const CreateBridge& action, const std::string& mark);

// What the port has; empty for a port of something that filters no VLANs.
std::vector<PortVlan> read_port_vlans(NetlinkSocket& socket, const LinkState& port);

void join_bridge(NetlinkSocket& socket, const JoinBridge& action);
void restore_port(NetlinkSocket& socket, const std::string& device, const PortState& old);

}  // namespace vmrig
