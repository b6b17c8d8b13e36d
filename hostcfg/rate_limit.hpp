// Rate limits of a tap or macvtap. What the kernel sends out of the device is limited there by a
// token bucket filter. What comes in goes through a device of its own (ifb), which has another.
// Source: tc-tbf(8), linux drivers/net/ifb.c, net/sched/act_mirred.c.
#pragma once

#include <string>

#include "hostcfg/net_control.hpp"
#include "hostcfg/netlink.hpp"

namespace vmrig {

// The ifb device of a limited one: "ifb-1f3a9c07", the same for the same name.
std::string ifb_name(const std::string& device);

RateState read_rate(NetlinkSocket& socket, const std::string& device);
void set_rate(NetlinkSocket& socket, const SetRate& action, const std::string& mark);
void remove_rate(NetlinkSocket& socket, const std::string& device, const std::string& mark);

}  // namespace vmrig
