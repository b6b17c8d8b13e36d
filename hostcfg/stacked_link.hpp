// Devices on top of another: VLAN devices and macvtaps.
// Source: linux include/uapi/linux/if_link.h, drivers/net/macvlan.c, net/8021q/.
#pragma once

#include <string>

#include "hostcfg/net_control.hpp"
#include "hostcfg/netlink.hpp"

namespace vmrig {

// As NetControl has them. A VLAN device that is there already is taken when it is the same.
void create_vlan(NetlinkSocket& socket, const CreateVlan& action, const std::string& mark);
void create_macvtap(NetlinkSocket& socket, const CreateMacvtap& action, const std::string& mark);

}  // namespace vmrig
