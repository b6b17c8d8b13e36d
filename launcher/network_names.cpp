#include "launcher/network_names.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <variant>

namespace vmrig {
namespace {

constexpr std::size_t kMostNameBytes = 15;

// Whether the NIC stands on that bridge or VLAN device.
struct IsUsedBy {
  const NicConfig& nic;

  bool operator()(const CreateBridge& action) const {
    return nic.type == NicType::kTap && nic.tap.bridge && nic.tap.bridge->name == action.name;
  }
  bool operator()(const CreateVlan& action) const {
    return nic.type == NicType::kMacvtap && nic.macvtap.parent == action.parent &&
           nic.vlan == action.vlan;
  }
  template <class Action>
  bool operator()(const Action&) const {
    return false;
  }
};

// The network device that an action of one NIC alone is about.
struct DeviceOf {
  std::string operator()(const CreateTap& action) const { return action.name; }
  std::string operator()(const CreateMacvtap& action) const { return action.name; }
  std::string operator()(const JoinBridge& action) const { return action.device; }
  std::string operator()(const SetAddress& action) const { return action.device; }
  std::string operator()(const SetRate& action) const { return action.device; }
  std::string operator()(const AddOvsPort& action) const { return action.port; }
  template <class Action>
  std::string operator()(const Action&) const {
    return {};
  }
};

}  // namespace

std::string vlan_device_name(const std::string& parent, int vlan) {
  std::string name = fmt::format("{}.{}", parent, vlan);
  if (name.size() <= kMostNameBytes) return name;
  // FNV-1a; the name must not change between versions.
  std::uint32_t hash = 0x811c9dc5;
  for (const char c : parent) hash = (hash ^ static_cast<unsigned char>(c)) * 0x01000193;
  constexpr std::size_t kReadable = 4;
  return fmt::format("{}-{:04x}.{}", parent.substr(0, kReadable), hash & 0xffff, vlan);
}

bool is_of_nic(const HostAction& action, const NicConfig& nic, std::string_view vm_name,
               const std::vector<NicConfig>& others) {
  if (is_shared(action)) {
    return std::visit(IsUsedBy{nic}, action) &&
           std::none_of(others.begin(), others.end(), [&action](const NicConfig& other) {
             return std::visit(IsUsedBy{other}, action);
           });
  }
  if (const auto* grant = std::get_if<GrantAccess>(&action)) return grant->device == nic.id;
  if (const auto* socket = std::get_if<MakeSocket>(&action)) return socket->device == nic.id;
  const std::string device = std::visit(DeviceOf{}, action);
  return !device.empty() && device == interface_name(nic, vm_name);
}

std::string host_end_text(const NicConfig& nic, const NicHostEnd& end) {
  std::string text(name_of(nic.type));
  if (!end.interface.empty()) text += " " + end.interface;
  if (nic.tap.bridge) text += " on " + nic.tap.bridge->name;
  if (nic.tap.ovs) text += " on " + nic.tap.ovs->bridge;
  if (nic.macvtap.parent) text += " on " + *nic.macvtap.parent;
  if (nic.vhost_user.socket) text += " " + *nic.vhost_user.socket;
  if (nic.type != NicType::kVf && nic.vlan) text += fmt::format(", VLAN {}", *nic.vlan);
  if (end.queues > 1) text += fmt::format(", {} queues", end.queues);
  if (end.vhost) text += ", vhost";
  return text;
}

}  // namespace vmrig
