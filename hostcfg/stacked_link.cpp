#include "hostcfg/stacked_link.hpp"

#include <fmt/format.h>
#include <linux/if_link.h>

#include <utility>

#include "hostcfg/link.hpp"

namespace vmrig {
namespace {

constexpr const char* kMakeVlan = "make the VLAN device";
constexpr const char* kMakeMacvtap = "make the macvtap";

std::uint32_t macvlan_mode(const std::string& mode) {
  if (mode == "private") return MACVLAN_MODE_PRIVATE;
  if (mode == "vepa") return MACVLAN_MODE_VEPA;
  if (mode == "passthru") return MACVLAN_MODE_PASSTHRU;
  return MACVLAN_MODE_BRIDGE;
}

LinkState require_parent(NetlinkSocket& socket, const char* operation, const std::string& name,
                         const std::string& parent) {
  LinkState link = require_link(socket, operation, parent);
  if (link.up) return link;
  throw Error({.status = ExitStatus::kHost,
               .operation = operation,
               .object = name,
               .cause = parent + " is down",
               .mend = fmt::format("ip link set {} up", parent)});
}

}  // namespace

void create_vlan(NetlinkSocket& socket, const CreateVlan& action, const std::string& mark) {
  if (const auto link = read_link(socket, action.name)) {
    const bool same =
        link->kind == "vlan" && link->lower == action.parent && link->vlan_id == action.vlan;
    if (same) return;
    throw Error({.status = ExitStatus::kHost,
                 .operation = kMakeVlan,
                 .object = action.name,
                 .cause = "a network device of this name is another",
                 .mend = "ip -d link show " + action.name});
  }
  NewLink link{.operation = kMakeVlan,
               .name = action.name,
               .kind = "vlan",
               .module = "8021q",
               .what = "VLAN devices"};
  link.parent = require_parent(socket, kMakeVlan, action.name, action.parent).index;
  link.data = [&action](NetlinkRequest& request) {
    request.put(IFLA_VLAN_ID, static_cast<std::uint16_t>(action.vlan));
  };
  LinkMaker(socket, link).finish(mark);
}

void create_macvtap(NetlinkSocket& socket, const CreateMacvtap& action, const std::string& mark) {
  NewLink link{.operation = kMakeMacvtap,
               .name = action.name,
               .kind = "macvtap",
               .module = "macvtap",
               .what = "macvtaps"};
  link.parent = require_parent(socket, kMakeMacvtap, action.name, action.parent).index;
  const MacAddress mac = parse_mac(action.mac);
  // A passthru macvtap is made with its parent's MAC (linux macvlan_common_newlink), and gives the
  // parent its own by a change; the kernel puts that back when the macvtap goes.
  const bool passthru = action.mode == "passthru";
  if (!passthru) link.mac = mac;
  link.mtu = action.mtu;
  link.data = [&action](NetlinkRequest& request) {
    request.put(IFLA_MACVLAN_MODE, macvlan_mode(action.mode));
  };
  LinkMaker maker(socket, link);
  if (passthru) {
    LinkChange change;
    change.mac = mac;
    change_link(socket, kMakeMacvtap, maker.link(), change);
  }
  maker.finish(mark);
}

}  // namespace vmrig
