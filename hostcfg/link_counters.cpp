#include "hostcfg/link_counters.hpp"

#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <sys/socket.h>

#include <array>
#include <cstring>

#include "hostcfg/netlink_message.hpp"

namespace vmrig {
namespace {

using LinkParts = std::array<nlattr*, IFLA_MAX + 1>;

bool parse_message(nlmsghdr* message, LinkParts& parts) {
  return message->nlmsg_type == RTM_NEWLINK &&
         nlmsg_parse(message, sizeof(ifinfomsg), parts.data(), IFLA_MAX, nullptr) >= 0;
}

std::string kind_of(nlattr* info) {
  std::array<nlattr*, IFLA_INFO_MAX + 1> parts{};
  if (info == nullptr || nla_parse_nested(parts.data(), IFLA_INFO_MAX, info, nullptr) < 0)
    return {};
  return attribute_text(parts[IFLA_INFO_KIND]);
}

// A kernel that knows fewer counters sends a shorter struct, a newer one a longer.
rtnl_link_stats64 stats_of(nlattr* attribute) {
  rtnl_link_stats64 stats{};
  const auto size = static_cast<std::size_t>(nla_len(attribute));
  std::memcpy(&stats, nla_data(attribute), std::min(size, sizeof stats));
  return stats;
}

std::optional<LinkCounters> vf_stats_of(nlattr* info, int vf) {
  std::array<nlattr*, IFLA_VF_MAX + 1> parts{};
  if (nla_parse_nested(parts.data(), IFLA_VF_MAX, info, nullptr) < 0) return std::nullopt;
  const auto mac = attribute_value<ifla_vf_mac>(parts[IFLA_VF_MAC]);
  if (!mac || static_cast<int>(mac->vf) != vf || parts[IFLA_VF_STATS] == nullptr) {
    return std::nullopt;
  }
  std::array<nlattr*, IFLA_VF_STATS_MAX + 1> stats{};
  if (nla_parse_nested(stats.data(), IFLA_VF_STATS_MAX, parts[IFLA_VF_STATS], nullptr) < 0) {
    return std::nullopt;
  }
  const auto value = [&stats](std::size_t type) {
    return attribute_value<std::uint64_t>(stats.at(type)).value_or(0);
  };
  LinkCounters counters;
  counters.received = {.bytes = value(IFLA_VF_STATS_RX_BYTES),
                       .packets = value(IFLA_VF_STATS_RX_PACKETS),
                       .errors = 0,
                       .drops = value(IFLA_VF_STATS_RX_DROPPED)};
  counters.sent = {.bytes = value(IFLA_VF_STATS_TX_BYTES),
                   .packets = value(IFLA_VF_STATS_TX_PACKETS),
                   .errors = 0,
                   .drops = value(IFLA_VF_STATS_TX_DROPPED)};
  return counters;
}

ifinfomsg link_header(int index) {
  ifinfomsg header{};
  header.ifi_family = AF_UNSPEC;
  header.ifi_index = index;
  return header;
}

}  // namespace

std::optional<LinkCounters> parse_guest_counters(nlmsghdr* message) {
  LinkParts parts{};
  if (!parse_message(message, parts) || parts[IFLA_STATS64] == nullptr) return std::nullopt;
  const rtnl_link_stats64 stats = stats_of(parts[IFLA_STATS64]);
  const LinkCounters counters{.received = {.bytes = stats.rx_bytes,
                                           .packets = stats.rx_packets,
                                           .errors = stats.rx_errors,
                                           .drops = stats.rx_dropped},
                              .sent = {.bytes = stats.tx_bytes,
                                       .packets = stats.tx_packets,
                                       .errors = stats.tx_errors,
                                       .drops = stats.tx_dropped}};
  return kind_of(parts[IFLA_LINKINFO]) == "tun" ? counters.turned_round() : counters;
}

std::optional<LinkCounters> parse_vf_counters(nlmsghdr* message, int vf) {
  LinkParts parts{};
  if (!parse_message(message, parts) || parts[IFLA_VFINFO_LIST] == nullptr) return std::nullopt;
  nlattr* info = nullptr;
  int left = 0;
  nla_for_each_nested(info, parts[IFLA_VFINFO_LIST], left) {
    if (auto counters = vf_stats_of(info, vf)) return counters;
  }
  return std::nullopt;
}

std::optional<LinkCounters> read_guest_counters(NetlinkSocket& socket, const std::string& device) {
  NetlinkRequest request(RTM_GETLINK, 0, link_header(0));
  request.put(IFLA_IFNAME, device);
  std::optional<LinkCounters> counters;
  socket.request(request.get(), [&counters](nlmsghdr* message) {
    if (auto found = parse_guest_counters(message)) counters = found;
  });
  return counters;
}

std::optional<LinkCounters> read_vf_counters(NetlinkSocket& socket, int pf_index, int vf) {
  NetlinkRequest request(RTM_GETLINK, 0, link_header(pf_index));
  request.put(IFLA_EXT_MASK, std::uint32_t{RTEXT_FILTER_VF});
  std::optional<LinkCounters> counters;
  socket.request(request.get(), [&counters, vf](nlmsghdr* message) {
    if (auto found = parse_vf_counters(message, vf)) counters = found;
  });
  return counters;
}

}  // namespace vmrig
