// What went through a network device, as the kernel counts it.
#pragma once

#include <linux/netlink.h>

#include <cstdint>
#include <optional>
#include <string>

#include "hostcfg/netlink.hpp"

namespace vmrig {

struct TrafficCounters {
  std::uint64_t bytes = 0;
  std::uint64_t packets = 0;
  std::uint64_t errors = 0;
  std::uint64_t drops = 0;
};

struct LinkCounters {
  TrafficCounters received;
  TrafficCounters sent;

  LinkCounters turned_round() const { return {.received = sent, .sent = received}; }
};

// A NIC's host end as the guest sees it: what a tap receives, its guest has sent; a macvtap
// counts for its guest. nullopt when there is no such device in this network namespace. Throws
// vmrig::Error when the kernel can't be asked.
// Source: linux drivers/net/tun.c tun_get_user, drivers/net/macvlan.c macvlan_count_rx.
std::optional<LinkCounters> read_guest_counters(NetlinkSocket& socket, const std::string& device);

// Of a VF, by its PF's index; nullopt when the PF's driver does not count them.
// Source: linux net/core/rtnetlink.c rtnl_fill_vfinfo (IFLA_VF_STATS).
std::optional<LinkCounters> read_vf_counters(NetlinkSocket& socket, int pf_index, int vf);

// The parts of the two, to be tested without a device: from a RTM_NEWLINK message.
std::optional<LinkCounters> parse_guest_counters(nlmsghdr* message);
std::optional<LinkCounters> parse_vf_counters(nlmsghdr* message, int vf);

}  // namespace vmrig
