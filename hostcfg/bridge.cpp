#include "hostcfg/bridge.hpp"

#include <fmt/format.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <utility>

#include "hostcfg/checkpoint.hpp"
#include "hostcfg/link.hpp"
#include "hostcfg/net_address.hpp"

namespace vmrig {
namespace {

constexpr const char* kMake = "make the bridge";
constexpr const char* kJoin = "make a port of bridge";
constexpr const char* kSetVlans = "set the VLANs of";
constexpr const char* kKind = "bridge";
constexpr const char* kFilteringBridges =
    "bridges with VLAN filtering (CONFIG_BRIDGE_VLAN_FILTERING)";
constexpr std::uint8_t kLocalUnicast = 0x02;

Error bridge_fault(const std::string& name, std::string cause, std::string mend = {}) {
  return Error({.status = ExitStatus::kHost,
                .operation = kMake,
                .object = name,
                .cause = std::move(cause),
                .mend = std::move(mend)});
}

// One that another VM shares, or somebody made since the plan.
void check_existing(NetlinkSocket& socket, const CreateBridge& action, const LinkState& bridge) {
  if (bridge.kind != kKind) {
    throw bridge_fault(action.name, "a network device of this name is no bridge",
                       "choose another name in the config");
  }
  if (bridge.vlan_filtering != action.vlan_filtering) {
    throw bridge_fault(
        action.name,
        fmt::format("it is there {} VLAN filtering", bridge.vlan_filtering ? "with" : "without"),
        "the same \"vlan_filtering\" in each VM that uses it");
  }
  if (!action.address.empty() && !has_address(socket, bridge, action.address)) {
    throw bridge_fault(action.name, fmt::format("it is there without {}", action.address),
                       "the same \"address\" in each VM that uses it");
  }
  if (action.mtu && bridge.mtu < *action.mtu) {
    throw bridge_fault(action.name, fmt::format("it is there with MTU {}", bridge.mtu),
                       "the same \"mtu\" in each VM that uses it");
  }
}

ifinfomsg port_header(int index) {
  ifinfomsg header{};
  header.ifi_family = AF_BRIDGE;
  header.ifi_index = index;
  return header;
}

void change_vlan(NetlinkSocket& socket, int type, const LinkState& port, const PortVlan& vlan) {
  NetlinkRequest request(type, 0, port_header(port.index));
  bridge_vlan_info info{};
  info.vid = static_cast<std::uint16_t>(vlan.id);
  if (vlan.pvid) info.flags |= BRIDGE_VLAN_INFO_PVID;
  if (vlan.untagged) info.flags |= BRIDGE_VLAN_INFO_UNTAGGED;
  nlattr* spec = request.begin(IFLA_AF_SPEC);
  request.put(IFLA_BRIDGE_VLAN_INFO, info);
  request.end(spec);
  checkpoint("before port VLAN");
  const NetlinkAnswer answer = socket.request(request.get());
  checkpoint("after port VLAN");
  if (answer.error != 0) throw net_refused(kSetVlans, port.name, answer);
}

// New ones first, so that a port is never without what it keeps.
void set_vlans(NetlinkSocket& socket, const LinkState& port, const std::vector<PortVlan>& wanted) {
  const std::vector<PortVlan> now = read_port_vlans(socket, port);
  const auto has_id = [](const std::vector<PortVlan>& list, int id) {
    return std::any_of(list.begin(), list.end(),
                       [id](const PortVlan& vlan) { return vlan.id == id; });
  };
  for (const PortVlan& vlan : wanted) {
    if (std::find(now.begin(), now.end(), vlan) == now.end()) {
      change_vlan(socket, RTM_SETLINK, port, vlan);
    }
  }
  for (const PortVlan& vlan : now) {
    if (!has_id(wanted, vlan.id)) change_vlan(socket, RTM_DELLINK, port, vlan);
  }
}

std::vector<PortVlan> wanted_vlans(const JoinBridge& action) {
  std::vector<PortVlan> vlans;
  if (action.vlan) vlans.push_back({.id = *action.vlan, .pvid = true, .untagged = true});
  for (const int id : action.trunk) {
    if (id != action.vlan) vlans.push_back({.id = id, .pvid = false, .untagged = false});
  }
  std::sort(vlans.begin(), vlans.end(),
            [](const PortVlan& a, const PortVlan& b) { return a.id < b.id; });
  return vlans;
}

void set_master(NetlinkSocket& socket, const std::string& object, const LinkState& device,
                int master) {
  LinkChange change;
  change.master = master;
  LinkState named = device;
  named.name = object;
  change_link(socket, kJoin, named, change);
}

}  // namespace

void create_bridge(NetlinkSocket& socket, const CreateBridge& action, const std::string& mark) {
  if (const auto bridge = read_link(socket, action.name)) {
    return check_existing(socket, action, *bridge);
  }
  NewLink link{
      .operation = kMake, .name = action.name, .kind = kKind, .module = kKind, .what = "bridges"};
  if (action.vlan_filtering) link.what = kFilteringBridges;
  link.mac = random_mac(kLocalUnicast);
  link.data = [&action](NetlinkRequest& request) {
    request.put(IFLA_BR_STP_STATE, std::uint32_t{0});
    if (action.vlan_filtering) request.put(IFLA_BR_VLAN_FILTERING, std::uint8_t{1});
  };
  LinkMaker maker(socket, link);
  // Some kernels pass over what they were built without, others refuse it.
  if (action.vlan_filtering && !maker.link().vlan_filtering) {
    throw bridge_fault(action.name, fmt::format("this kernel has no {}", kFilteringBridges),
                       "a bridge for each VLAN, or another kernel");
  }
  // Not in the creating request: only a change makes the bridge keep it (linux br_change_mtu).
  if (action.mtu) {
    LinkChange change;
    change.mtu = action.mtu;
    change_link(socket, kMake, maker.link(), change);
  }
  if (!action.address.empty()) add_address(socket, maker.link(), action.address);
  maker.finish(mark);
}

std::vector<PortVlan> read_port_vlans(NetlinkSocket& socket, const LinkState& port) {
  std::vector<PortVlan> vlans;
  NetlinkRequest request(RTM_GETLINK, NLM_F_DUMP, port_header(0));
  request.put(IFLA_EXT_MASK, std::uint32_t{RTEXT_FILTER_BRVLAN});
  const NetlinkAnswer answer = socket.request(request.get(), [&](nlmsghdr* message) {
    const auto* header = static_cast<const ifinfomsg*>(nlmsg_data(message));
    if (message->nlmsg_type != RTM_NEWLINK || header->ifi_index != port.index) return;
    nlattr* spec = nlmsg_find_attr(message, sizeof(ifinfomsg), IFLA_AF_SPEC);
    if (spec == nullptr) return;
    int left = nla_len(spec);
    for (auto* one = static_cast<nlattr*>(nla_data(spec)); nla_ok(one, left) != 0;
         one = nla_next(one, &left)) {
      if (nla_type(one) != IFLA_BRIDGE_VLAN_INFO) continue;
      const auto info = attribute_value<bridge_vlan_info>(one);
      if (!info) continue;
      vlans.push_back({.id = info->vid,
                       .pvid = (info->flags & BRIDGE_VLAN_INFO_PVID) != 0,
                       .untagged = (info->flags & BRIDGE_VLAN_INFO_UNTAGGED) != 0});
    }
  });
  if (answer.error != 0 && answer.error != EOPNOTSUPP) {
    throw net_refused("read the VLANs of", port.name, answer);
  }
  std::sort(vlans.begin(), vlans.end(),
            [](const PortVlan& a, const PortVlan& b) { return a.id < b.id; });
  return vlans;
}

void join_bridge(NetlinkSocket& socket, const JoinBridge& action) {
  const LinkState device = require_link(socket, kJoin, action.device);
  const LinkState bridge = require_link(socket, kJoin, action.bridge);
  const std::string object = fmt::format("{}: {}", action.bridge, action.device);
  if (bridge.kind != kKind) {
    throw Error({.status = ExitStatus::kHost,
                 .operation = kJoin,
                 .object = object,
                 .cause = action.bridge + " is no Linux bridge",
                 .mend = bridge.kind == "openvswitch" ? "\"ovs\" instead of \"bridge\"" : ""});
  }
  const std::vector<PortVlan> wanted = wanted_vlans(action);
  if (!wanted.empty() && !bridge.vlan_filtering) {
    throw Error({.status = ExitStatus::kHost,
                 .operation = kJoin,
                 .object = object,
                 .cause = "it does not filter VLANs",
                 .mend = fmt::format("ip link set {} type bridge vlan_filtering 1, where the "
                                     "kernel has it",
                                     action.bridge)});
  }
  if (device.master != action.bridge) set_master(socket, object, device, bridge.index);
  if (!wanted.empty()) set_vlans(socket, device, wanted);
}

void restore_port(NetlinkSocket& socket, const std::string& device, const PortState& old) {
  const LinkState link = require_link(socket, kJoin, device);
  int master = 0;
  if (!old.master.empty()) master = require_link(socket, kJoin, old.master).index;
  if (link.master != old.master) set_master(socket, device, link, master);
  if (!old.vlans.empty()) set_vlans(socket, link, old.vlans);
}

}  // namespace vmrig
