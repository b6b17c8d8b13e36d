// The host ends that vmrig makes for a NIC: a tap, a macvtap, a vhost-user socket.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hostcfg/base/shape.hpp"

namespace vmrig {

// A Linux bridge; only one that is made on request has more than a name.
struct BridgeConfig {
  std::string name;
  bool create = false;                 // where it is not there; goes with its last VM
  std::optional<std::string> address;  // "10.0.0.1/24"
  std::optional<int> mtu;              // bytes
  bool vlan_filtering = false;
};

// An Open vSwitch port.
struct OvsConfig {
  std::string bridge;
  std::optional<int> tag;   // VLAN of an access port
  std::vector<int> trunks;  // VLANs of a trunk port
};

struct TapConfig {
  std::optional<BridgeConfig> bridge;
  std::optional<std::string> device;   // an existing tap, which is left alone
  std::optional<std::string> address;  // of the host's end: routed
  std::vector<int> trunk;              // VLANs that pass tagged
  std::optional<OvsConfig> ovs;
  std::optional<int> txqueuelen;  // packets
};

enum class MacvtapMode { kBridge, kVepa, kPrivate, kPassthru };
std::vector<std::string_view> enum_names(MacvtapMode);

struct MacvtapConfig {
  std::optional<std::string> parent;
  std::optional<MacvtapMode> mode;  // bridge when not given
};

struct VhostUserConfig {
  std::optional<std::string> socket;  // absolute once the config is loaded
  bool server = false;                // QEMU listens, and the switch connects
};

// Limits as the guest sees them: egress is what it sends.
struct RateConfig {
  std::optional<std::string> ingress;  // "20Mbit"
  std::optional<std::string> egress;
};

void describe(Fields& fields, BridgeConfig& bridge);
void describe(Fields& fields, OvsConfig& ovs);
void describe(Fields& fields, RateConfig& rate);

// The keys, as members of the NIC that they belong to. Whether they suit its type, the NIC's own
// rule says.
void describe_tap(Fields& fields, TapConfig& tap);
void describe_macvtap(Fields& fields, MacvtapConfig& macvtap);
void describe_vhost_user(Fields& fields, VhostUserConfig& vhost_user);

// What the kernel takes as the name of a network device: 1 to 15 bytes (IFNAMSIZ), no '/', ':',
// '%' or space. Source: linux net/core/dev.c, dev_valid_name.
TextRule interface_rule();
std::string why_bad_interface(std::string_view name);

// "64Kbit", "10Mbit" or "2Gbit" in bit/s. Throws std::invalid_argument with a text for the user.
std::uint64_t parse_rate_bit_s(std::string_view text);

}  // namespace vmrig
