// Ports of Open vSwitch bridges, by ovs-vsctl. OVS_RUNDIR in the environment says where another
// Open vSwitch than the host's keeps its sockets. Source: ovs-vsctl(8).
#pragma once

#include <optional>
#include <string>

#include "hostcfg/net_control.hpp"

namespace vmrig {

// As NetControl has them. Each change is one transaction of the switch's database.
std::optional<OvsPort> read_ovs_port(const std::string& port);
void add_ovs_port(const AddOvsPort& action, const std::string& mark);
void remove_ovs_port(const AddOvsPort& action);

}  // namespace vmrig
