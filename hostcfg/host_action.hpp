// What vmrig changes on the host for a VM, as data: it stands in the plan, is applied from
// there, and goes into the journal.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "hostcfg/access_action.hpp"
#include "hostcfg/base/json.hpp"
#include "hostcfg/base/pci_address.hpp"
#include "hostcfg/cgroup_action.hpp"
#include "hostcfg/facts.hpp"
#include "hostcfg/memory_action.hpp"
#include "hostcfg/net_action.hpp"

namespace vmrig {

// What a PF is to keep about a VF; what is not set stays as it is.
struct VfSettings {
  std::optional<std::string> mac;         // "52:54:00:2d:87:99", lower case
  std::optional<int> vlan;                // 0 to 4094; 0: none
  std::optional<int> qos;                 // 0 to 7
  std::optional<std::string> vlan_proto;  // "802.1Q" or "802.1ad"
  std::optional<bool> trust;
  std::optional<bool> spoofchk;
  std::optional<std::string> link_state;  // "auto", "enable", "disable"
  std::optional<int> min_rate_mbit;       // 0: no limit
  std::optional<int> max_rate_mbit;
  bool empty() const { return *this == VfSettings{}; }
  bool operator==(const VfSettings&) const = default;
};

// Loads a kernel module, with those that it needs. It stays: another may use it meanwhile.
struct LoadModule {
  std::string name;  // "vfio-pci"
  bool operator==(const LoadModule&) const = default;
};

// Makes `count` VFs of a PF. A PF with another count goes through zero, which takes all of its
// VFs away: refused while somebody holds one.
struct SetVfCount {
  PciAddress pf;
  int count = 0;
  bool operator==(const SetVfCount&) const = default;
};

// Has to come before the VF is bound: the bind resets the VF, and it takes its MAC then.
struct SetVf {
  PciAddress pf;
  int index = 0;
  VfSettings settings;
  bool operator==(const SetVf&) const = default;
};

// Takes the device from its driver and gives it to this one by driver_override.
struct BindDriver {
  PciAddress device;
  std::string driver;
  bool operator==(const BindDriver&) const = default;
};

using HostAction =
    std::variant<LoadModule, SetVfCount, SetVf, BindDriver, CreateBridge, CreateTap, JoinBridge,
                 SetAddress, CreateVlan, CreateMacvtap, SetRate, AddOvsPort, ShareCgroup,
                 CreateCgroup, LimitDevice, ReservePages, MountHugetlbfs, GrantAccess, MakeSocket>;

// What is to be put back.
struct OldState {
  bool loaded = false;           // LoadModule: it was there before
  int vf_count = 0;              // SetVfCount
  VfSettings vf;                 // SetVf: the old values of what is set
  std::string driver;            // BindDriver; empty: none was bound
  std::string driver_override;   // BindDriver; empty: none
  NetOldState net;               // actions on the network
  CgroupOldState cgroup;         // actions on cgroups
  std::uint64_t pool_pages = 0;  // ReservePages: the persistent ones
  AccessOldState access = {};    // actions on access to files
  bool operator==(const OldState&) const = default;
};

// "module", "vfs", "vf", "bind", "bridge", "tap", "join", "address", "vlan", "macvtap", "rate",
// "ovs-port", "cgroups", "cgroup", "io-max", "reserve", "mount", "access", "socket".
std::string_view action_kind(const HostAction& action);

// Whether VMs share what it changes: done and undone under the state folder's lock alone, what it
// makes with its last user.
bool is_shared(const HostAction& action);

// One line without the kind: "eno2 VF 0: mac 52:54:00:2d:87:99, trust on",
// "0000:3b:10.1 ixgbevf > vfio-pci, group 154, alone", "vm1-net0 > br0, VLAN 12".
std::string describe_action(const HostAction& action, const HostFacts& facts);

// What undoing it will put back, by what the host is now: "ixgbevf", "mac 8e:df:08:c1:d1:de,
// trust off", "stays", "removed".
std::string describe_undo(const HostAction& action, const HostFacts& facts);

// "mac 52:54:00:2d:87:99, vlan 12, trust on"; empty for none.
std::string describe_settings(const VfSettings& settings);

// The values that a record has for what is set in `which`, so that they can be put back.
VfSettings settings_of(const VfRecord& record, const VfSettings& which);

// The record of that VF as it will be when all of `record` is set.
VfSettings all_settings_of(const VfRecord& record);

Json to_json(const VfSettings& settings);
VfSettings vf_settings_from_json(const Json& json);  // throws vmrig::Error naming the key

Json to_json(const HostAction& action);
HostAction host_action_from_json(const Json& json);  // throws vmrig::Error naming the key

Json to_json(const OldState& old);
OldState old_state_from_json(const Json& json);  // throws vmrig::Error naming the key

}  // namespace vmrig
