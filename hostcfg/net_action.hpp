// Changes of the host's network, as data. Names of devices are 1 to 15 bytes (IFNAMSIZ less one)
// and belong to the network namespace that vmrig runs in.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hostcfg/base/json.hpp"

namespace vmrig {

// Makes a Linux bridge, up, without STP, with a MAC of its own that stays when ports come and go.
// VMs share it: it goes with its last user. One that somebody else made meanwhile is taken as it is
// and left.
struct CreateBridge {
  std::string name = {};
  std::string address = {};  // CIDR, "10.0.0.1/24"; empty: none
  std::optional<int> mtu = {};
  bool vlan_filtering = false;
  bool operator==(const CreateBridge&) const = default;
};

// Makes a persistent tap (IFF_NO_PI, IFF_VNET_HDR), up.
struct CreateTap {
  std::string name = {};
  int queues = 1;  // above 1: IFF_MULTI_QUEUE
  std::optional<unsigned> owner_uid = {};
  std::optional<int> mtu = {};
  // Of the host's end. Without one: random, and high, because a bridge that has no MAC of its own
  // takes the lowest among its ports.
  std::string mac = {};
  std::optional<int> txqueuelen = {};
  bool operator==(const CreateTap&) const = default;
};

// Makes a device a port of a bridge. `vlan` and `trunk` need VLAN filtering there: with either, the
// port has these VLANs only, and without `vlan` nothing untagged passes.
struct JoinBridge {
  std::string device = {};
  std::string bridge = {};
  std::optional<int> vlan = {};  // 1 to 4094: untagged in both directions
  std::vector<int> trunk = {};   // tagged, ascending
  bool operator==(const JoinBridge&) const = default;
};

struct SetAddress {
  std::string device = {};
  std::string cidr = {};  // IPv4 or IPv6, "192.0.2.1/24"
  bool operator==(const SetAddress&) const = default;
};

// Makes a VLAN device on `parent`, up. Shared as a bridge is.
struct CreateVlan {
  std::string name = {};
  std::string parent = {};
  int vlan = 0;  // 1 to 4094
  bool operator==(const CreateVlan&) const = default;
};

// Makes a macvtap on `parent`, up.
struct CreateMacvtap {
  std::string name = {};
  std::string parent = {};
  std::string mode = {};  // "bridge", "vepa", "private", "passthru"
  std::string mac = {};   // the guest's
  std::optional<int> mtu = {};
  bool operator==(const CreateMacvtap&) const = default;
};

// Limits a tap or macvtap, as its guest sees it. At least one of the two.
struct SetRate {
  std::string device = {};
  std::optional<std::uint64_t> ingress_bit_s = {};  // what the guest receives
  std::optional<std::uint64_t> egress_bit_s = {};   // what the guest sends
  bool operator==(const SetRate&) const = default;
};

// Makes a device a port of an Open vSwitch bridge, by ovs-vsctl.
struct AddOvsPort {
  std::string bridge = {};
  std::string port = {};
  std::optional<int> tag = {};  // 0 to 4095
  std::vector<int> trunks = {};
  bool operator==(const AddOvsPort&) const = default;
};

// A VLAN of a bridge's port.
struct PortVlan {
  int id = 0;
  bool pvid = false;      // what comes in untagged is of this VLAN
  bool untagged = false;  // what goes out is untagged
  bool operator==(const PortVlan&) const = default;
};

// What stood there before one of these.
struct NetOldState {
  bool existed = false;  // the device, the address, the port
  std::string mark;      // what a device that was made has as its alias, for its maker to know it
  std::string master;    // JoinBridge: the bridge that it was a port of; empty: none
  std::vector<PortVlan> vlans;  // JoinBridge: of a port of a bridge with VLAN filtering
  bool empty() const { return *this == NetOldState{}; }
  bool operator==(const NetOldState&) const = default;
};

// Aliases of devices that vmrig made begin with this; what VMs share has no more.
inline constexpr std::string_view kMadeByVmrig = "vmrig";

// Lines as describe_action (hostcfg/host_action.hpp) has them.
std::string describe(const CreateBridge& action);
std::string describe(const CreateTap& action);
std::string describe(const JoinBridge& action);
std::string describe(const SetAddress& action);
std::string describe(const CreateVlan& action);
std::string describe(const CreateMacvtap& action);
std::string describe(const SetRate& action);
std::string describe(const AddOvsPort& action);

// "20 Mbit/s", "1.5 Gbit/s".
std::string describe_rate(std::uint64_t bit_s);

class FactsReader;

// Without their kind. The readers throw vmrig::Error naming the key.
Json to_json(const CreateBridge& action);
Json to_json(const CreateTap& action);
Json to_json(const JoinBridge& action);
Json to_json(const SetAddress& action);
Json to_json(const CreateVlan& action);
Json to_json(const CreateMacvtap& action);
Json to_json(const SetRate& action);
Json to_json(const AddOvsPort& action);
Json to_json(const NetOldState& old);
void read_action(FactsReader& reader, CreateBridge& action);
void read_action(FactsReader& reader, CreateTap& action);
void read_action(FactsReader& reader, JoinBridge& action);
void read_action(FactsReader& reader, SetAddress& action);
void read_action(FactsReader& reader, CreateVlan& action);
void read_action(FactsReader& reader, CreateMacvtap& action);
void read_action(FactsReader& reader, SetRate& action);
void read_action(FactsReader& reader, AddOvsPort& action);
NetOldState read_net_old_state(FactsReader reader);

}  // namespace vmrig
