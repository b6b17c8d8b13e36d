#include "hostcfg/host_action.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "hostcfg/iommu_group.hpp"

namespace vmrig {
namespace {

constexpr const char* kNoDriver = "no driver";
constexpr const char* kRemoved = "removed";
constexpr const char* kSharedEnd = "removed, when no VM uses it";

std::string pf_name(const PciAddress& pf, const HostFacts& facts) {
  const PciDeviceFacts* device = facts.find_pci(pf);
  if (device == nullptr || device->net_devices.empty()) return pf.to_string();
  return device->net_devices.front();
}

std::string group_text(const PciAddress& address, const HostFacts& facts) {
  const PciDeviceFacts* device = facts.find_pci(address);
  if (device == nullptr || device->iommu_group < 0) return "no IOMMU group";
  const std::size_t members = facts.group_members(device->iommu_group).size();
  if (members == 1) return fmt::format("group {}, alone", device->iommu_group);
  return fmt::format("group {} of {}", device->iommu_group, members);
}

std::string_view driver_of(const PciAddress& address, const HostFacts& facts) {
  const PciDeviceFacts* device = facts.find_pci(address);
  return device == nullptr || device->driver.empty() ? kNoDriver : std::string_view(device->driver);
}

const char* on_off(bool on) { return on ? "on" : "off"; }

struct Describe {
  const HostFacts& facts;

  std::string operator()(const LoadModule& action) const { return action.name; }
  std::string operator()(const SetVfCount& action) const {
    const PciDeviceFacts* pf = facts.find_pci(action.pf);
    return fmt::format("{}: {} VFs, {} now", pf_name(action.pf, facts), action.count,
                       pf == nullptr ? 0 : pf->num_vfs);
  }
  std::string operator()(const SetVf& action) const {
    return fmt::format("{} VF {}: {}", pf_name(action.pf, facts), action.index,
                       describe_settings(action.settings));
  }
  std::string operator()(const BindDriver& action) const {
    return fmt::format("{} {} > {}, {}", action.device.to_string(), driver_of(action.device, facts),
                       action.driver, group_text(action.device, facts));
  }
  template <typename NetAction>
  std::string operator()(const NetAction& action) const {
    return describe(action);
  }
};

struct DescribeUndo {
  const HostFacts& facts;

  std::string operator()(const LoadModule&) const { return "stays"; }
  std::string operator()(const SetVfCount& action) const {
    const PciDeviceFacts* pf = facts.find_pci(action.pf);
    const int count = pf == nullptr ? 0 : pf->num_vfs;
    return fmt::format("{} VFs, when no VM uses one", count);
  }
  std::string operator()(const SetVf& action) const {
    const VfRecord* record = facts.find_vf_record(action.pf, action.index);
    // VFs that are yet to be made have no record; they go away again.
    if (record == nullptr) return "as it was";
    return describe_settings(settings_of(*record, action.settings));
  }
  std::string operator()(const BindDriver& action) const {
    return std::string(driver_of(action.device, facts));
  }
  std::string operator()(const CreateBridge& action) const {
    return shared_end(facts.find_net(action.name));
  }
  std::string operator()(const CreateVlan& action) const {
    return shared_end(facts.find_net(action.name));
  }
  std::string operator()(const CreateTap&) const { return kRemoved; }
  std::string operator()(const CreateMacvtap&) const { return kRemoved; }
  std::string operator()(const JoinBridge& action) const {
    const NetDeviceFacts* device = facts.find_net(action.device);
    if (device == nullptr) return "left";
    return device->master.empty() ? "no bridge" : device->master;
  }
  std::string operator()(const SetAddress& action) const {
    const NetDeviceFacts* device = facts.find_net(action.device);
    const bool stays = device != nullptr && contains(device->addresses, action.cidr);
    return stays ? "stays" : kRemoved;
  }
  std::string operator()(const SetRate&) const { return "no limit"; }
  std::string operator()(const AddOvsPort&) const { return kRemoved; }
  std::string operator()(const ShareCgroup&) const { return "removed, when no VM uses it"; }
  std::string operator()(const CreateCgroup&) const { return kRemoved; }
  std::string operator()(const LimitDevice&) const { return "no limit"; }
  std::string operator()(const ReservePages& action) const {
    return fmt::format("give {} back", action.pages);
  }
  std::string operator()(const MountHugetlbfs&) const { return kSharedEnd; }
  std::string operator()(const GrantAccess&) const { return "taken back"; }
  std::string operator()(const MakeSocket&) const { return kRemoved; }

 private:
  static std::string shared_end(const NetDeviceFacts* device) {
    if (device != nullptr && !device->made_by_vmrig) return "stays";
    return kSharedEnd;
  }
  static bool contains(const std::vector<std::string>& texts, const std::string& text) {
    return std::find(texts.begin(), texts.end(), text) != texts.end();
  }
};

}  // namespace

std::string_view action_kind(const HostAction& action) {
  static constexpr std::array<std::string_view, std::variant_size_v<HostAction>> kKinds = {
      "module",  "vfs",     "vf",      "bind",   "bridge",   "tap",     "join",
      "address", "vlan",    "macvtap", "rate",   "ovs-port", "cgroups", "cgroup",
      "io-max",  "reserve", "mount",   "access", "socket"};
  return kKinds.at(action.index());
}

bool is_shared(const HostAction& action) {
  if (const auto* grant = std::get_if<GrantAccess>(&action)) return grant->is_shared;
  return std::holds_alternative<SetVfCount>(action) ||
         std::holds_alternative<CreateBridge>(action) ||
         std::holds_alternative<CreateVlan>(action) ||
         std::holds_alternative<ShareCgroup>(action) ||
         std::holds_alternative<ReservePages>(action) ||
         std::holds_alternative<MountHugetlbfs>(action);
}

std::string describe_action(const HostAction& action, const HostFacts& facts) {
  return std::visit(Describe{facts}, action);
}

std::string describe_undo(const HostAction& action, const HostFacts& facts) {
  return std::visit(DescribeUndo{facts}, action);
}

std::string describe_settings(const VfSettings& settings) {
  std::string text;
  const auto add = [&text](const std::string& part) {
    if (!text.empty()) text += ", ";
    text += part;
  };
  if (settings.mac) add("mac " + *settings.mac);
  if (settings.vlan) {
    std::string vlan = *settings.vlan == 0 ? "no vlan" : fmt::format("vlan {}", *settings.vlan);
    if (settings.vlan_proto && *settings.vlan != 0) vlan += " " + *settings.vlan_proto;
    add(vlan);
  }
  if (settings.qos) add(fmt::format("qos {}", *settings.qos));
  if (settings.vlan_proto && !settings.vlan) add("vlan protocol " + *settings.vlan_proto);
  if (settings.trust) add(fmt::format("trust {}", on_off(*settings.trust)));
  if (settings.spoofchk) add(fmt::format("spoofchk {}", on_off(*settings.spoofchk)));
  if (settings.link_state) add("link " + *settings.link_state);
  const auto add_rate = [&add](const char* which, const std::optional<int>& mbit) {
    if (!mbit) return;
    add(*mbit == 0 ? fmt::format("no {} rate", which)
                   : fmt::format("{} rate {} Mbit/s", which, *mbit));
  };
  add_rate("min", settings.min_rate_mbit);
  add_rate("max", settings.max_rate_mbit);
  return text;
}

VfSettings all_settings_of(const VfRecord& record) {
  VfSettings all;
  if (!record.mac.empty()) all.mac = record.mac;
  all.vlan = record.vlan;
  all.qos = record.qos;
  if (!record.vlan_proto.empty()) all.vlan_proto = record.vlan_proto;
  all.trust = record.trust;
  all.spoofchk = record.spoofchk;
  if (!record.link_state.empty()) all.link_state = record.link_state;
  all.min_rate_mbit = record.min_rate_mbit;
  all.max_rate_mbit = record.max_rate_mbit;
  return all;
}

VfSettings settings_of(const VfRecord& record, const VfSettings& which) {
  VfSettings settings = all_settings_of(record);
  if (!which.mac) settings.mac.reset();
  if (!which.vlan) settings.vlan.reset();
  if (!which.qos) settings.qos.reset();
  if (!which.vlan_proto) settings.vlan_proto.reset();
  if (!which.trust) settings.trust.reset();
  if (!which.spoofchk) settings.spoofchk.reset();
  if (!which.link_state) settings.link_state.reset();
  if (!which.min_rate_mbit) settings.min_rate_mbit.reset();
  if (!which.max_rate_mbit) settings.max_rate_mbit.reset();
  return settings;
}

}  // namespace vmrig
