// Whose a network device or a change of it is.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "devices/nic_description.hpp"
#include "hostcfg/host_action.hpp"

namespace vmrig {

// "eno1.12"; where that is longer than the kernel takes, a stable shorter one.
std::string vlan_device_name(const std::string& parent, int vlan);

// Whether the action belongs to the NIC: what it made alone, and what it shares and none of
// `others` (the VM's other NICs) still uses.
bool is_of_nic(const HostAction& action, const NicConfig& nic, std::string_view vm_name,
               const std::vector<NicConfig>& others);

// "tap vm1-net0 on br0, 4 queues, vhost"
std::string host_end_text(const NicConfig& nic, const NicHostEnd& end);

}  // namespace vmrig
