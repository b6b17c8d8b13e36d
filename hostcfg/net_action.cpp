#include "hostcfg/net_action.hpp"

#include <fmt/format.h>

#include <array>

namespace vmrig {
namespace {

std::string vlans_text(const std::optional<int>& vlan, const std::vector<int>& trunk) {
  std::string text;
  if (vlan) text += fmt::format(", VLAN {}", *vlan);
  if (!trunk.empty()) text += fmt::format(", trunk of VLAN {}", fmt::join(trunk, ","));
  return text;
}

std::string mtu_text(const std::optional<int>& mtu) {
  return mtu ? fmt::format(", MTU {}", *mtu) : std::string();
}

}  // namespace

std::string describe_rate(std::uint64_t bit_s) {
  struct Unit {
    std::uint64_t size;
    const char* name;
  };
  static constexpr std::array<Unit, 3> kUnits = {
      {{1'000'000'000, "Gbit/s"}, {1'000'000, "Mbit/s"}, {1'000, "kbit/s"}}};
  for (const Unit& unit : kUnits) {
    if (bit_s < unit.size) continue;
    return fmt::format("{:.6g} {}", static_cast<double>(bit_s) / static_cast<double>(unit.size),
                       unit.name);
  }
  return fmt::format("{} bit/s", bit_s);
}

std::string describe(const CreateBridge& action) {
  return action.name + (action.address.empty() ? "" : ", " + action.address) +
         mtu_text(action.mtu) + (action.vlan_filtering ? ", VLAN filtering" : "");
}

std::string describe(const CreateTap& action) {
  std::string text = action.name;
  if (action.queues > 1) text += fmt::format(", {} queues", action.queues);
  if (action.owner_uid) text += fmt::format(", of user {}", *action.owner_uid);
  if (!action.mac.empty()) text += ", mac " + action.mac;
  text += mtu_text(action.mtu);
  if (action.txqueuelen) text += fmt::format(", txqueuelen {}", *action.txqueuelen);
  return text;
}

std::string describe(const JoinBridge& action) {
  return fmt::format("{} > {}{}", action.device, action.bridge,
                     vlans_text(action.vlan, action.trunk));
}

std::string describe(const SetAddress& action) {
  return fmt::format("{}: {}", action.device, action.cidr);
}

std::string describe(const CreateVlan& action) {
  return fmt::format("{} on {}, VLAN {}", action.name, action.parent, action.vlan);
}

std::string describe(const CreateMacvtap& action) {
  return fmt::format("{} on {}, {}, mac {}{}", action.name, action.parent, action.mode, action.mac,
                     mtu_text(action.mtu));
}

std::string describe(const SetRate& action) {
  std::string text = action.device + ":";
  if (action.ingress_bit_s) text += " ingress " + describe_rate(*action.ingress_bit_s);
  if (action.ingress_bit_s && action.egress_bit_s) text += ",";
  if (action.egress_bit_s) text += " egress " + describe_rate(*action.egress_bit_s);
  return text;
}

std::string describe(const AddOvsPort& action) {
  return fmt::format("{} > {}{}", action.port, action.bridge,
                     vlans_text(action.tag, action.trunks));
}

}  // namespace vmrig
