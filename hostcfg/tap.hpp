// Persistent taps. Source: linux Documentation/networking/tuntap.rst.
#pragma once

#include <string>

#include "hostcfg/net_control.hpp"
#include "hostcfg/netlink.hpp"

namespace vmrig {

// As NetControl has it. Until the tap has its mark it goes with this process.
void create_tap(NetlinkSocket& socket, const CreateTap& action, const std::string& mark);

}  // namespace vmrig
