// A PF's records of its VFs, through netlink.
#pragma once

#include <linux/netlink.h>

#include <string>
#include <string_view>
#include <vector>

#include "hostcfg/facts.hpp"
#include "hostcfg/host_action.hpp"
#include "hostcfg/netlink.hpp"

namespace vmrig {

// The records of the network device with this index; empty when it has no VFs or is gone. Throws
// vmrig::Error when the kernel can't be asked.
// Source: linux net/core/rtnetlink.c rtnl_fill_vfinfo.
std::vector<VfRecord> read_vf_records(NetlinkSocket& socket, int pf_index);

// One request a setting, in an order that devices take: spoofchk and trust before the MAC, rates
// together. Throws vmrig::Error naming the PF, the VF and the setting that the device refused;
// those before it are set then.
void set_vf(NetlinkSocket& socket, int pf_index, const std::string& pf_name, int index,
            const VfSettings& settings);

// The parts of the two, to be tested without a device.

// The records in a RTM_NEWLINK message.
std::vector<VfRecord> parse_vf_records(nlmsghdr* message);

struct VfRequest {
  std::string setting;  // "mac 52:54:00:2d:87:99", for messages
  NetlinkMessage message;
};

// `record` is what stands there: VLAN, QoS and protocol go in one attribute, as the rates do, so
// that what is not set has to be repeated. Throws vmrig::Error (kUsage) for a MAC that is none.
std::vector<VfRequest> make_vf_requests(int pf_index, const VfRecord& record,
                                        const VfSettings& settings);

}  // namespace vmrig
