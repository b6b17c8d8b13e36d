#include "devices/nic_host.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <stdexcept>

#include "devices/ids.hpp"

namespace vmrig {
namespace {

constexpr int kMostVlans = 4094;
constexpr std::size_t kMostNameBytes = 15;  // IFNAMSIZ with its NUL

const IntRule kVlanRule{1, kMostVlans};
const IntRule kMtuRule{68, 65535};

std::string why_bad_cidr(const std::string& text) {
  const std::string why = "is no address with a prefix; write \"10.0.0.1/24\"";
  const std::size_t slash = text.find('/');
  if (slash == std::string::npos) return why;
  const std::string address = text.substr(0, slash);
  const std::string_view digits = std::string_view(text).substr(slash + 1);
  int prefix = -1;
  const auto [rest, error] = std::from_chars(digits.data(), digits.data() + digits.size(), prefix);
  if (error != std::errc{} || rest != digits.data() + digits.size() || prefix < 0) return why;
  std::array<unsigned char, sizeof(in6_addr)> bytes{};
  if (::inet_pton(AF_INET, address.c_str(), bytes.data()) == 1) return prefix <= 32 ? "" : why;
  if (::inet_pton(AF_INET6, address.c_str(), bytes.data()) == 1) return prefix <= 128 ? "" : why;
  return why;
}

TextRule cidr_rule() {
  return {.min_length = 1,
          .max_length = 49,
          .pattern = "^[0-9A-Fa-f:.]+/[0-9]{1,3}$",
          .meaning = "an IPv4 or IPv6 address with its prefix",
          .check = why_bad_cidr};
}

TextRule rate_rule() {
  return {.min_length = 1,
          .max_length = 32,
          .pattern = "^[0-9]+(Kbit|Mbit|Gbit)$",
          .meaning = "a rate",
          .check = [](const std::string& text) -> std::string {
            try {
              (void)parse_rate_bit_s(text);
              return {};
            } catch (const std::invalid_argument& refused) {
              return refused.what();
            }
          }};
}

// A text is the bridge's name.
struct BridgeChoice {
  BridgeConfig& bridge;
};

bool has_only_name(const BridgeConfig& bridge) {
  return !bridge.create && !bridge.address && !bridge.mtu && !bridge.vlan_filtering;
}

void visit(Shape& shape, BridgeChoice& value) {
  BridgeConfig& bridge = value.bridge;
  int which = has_only_name(bridge) ? 0 : 1;
  shape.any_of(which, {{Alternative::Type::kText,
                        [&](Shape& inner) {
                          std::string name = bridge.name;
                          inner.text(name, interface_rule());
                          bridge = BridgeConfig();
                          bridge.name = std::move(name);
                        }},
                       {Alternative::Type::kObject, [&](Shape& inner) {
                          inner.object([&](Fields& fields) { describe(fields, bridge); });
                        }}});
}

}  // namespace

std::vector<std::string_view> enum_names(MacvtapMode) {
  return {"bridge", "vepa", "private", "passthru"};
}

std::string why_bad_interface(std::string_view name) {
  if (name.size() > kMostNameBytes) return "is longer than the 15 bytes that the kernel takes";
  // The kernel takes control characters, too, and a "-" first, which programs take for an option.
  const bool good = !name.empty() && name != "." && name != ".." && name.front() != '-' &&
                    std::none_of(name.begin(), name.end(), [](char c) {
                      return c == '/' || c == ':' || c == '%' ||
                             static_cast<unsigned char>(c) <= ' ' || c == 0x7f;
                    });
  return good ? "" : "is no name of a network device";
}

TextRule interface_rule() {
  return {.min_length = 1,
          .max_length = 15,
          .pattern = "^[^\\x00-\\x20\\x7f/:%-][^\\x00-\\x20\\x7f/:%]{0,14}$",
          .meaning = "the name of a network device",
          .check = [](const std::string& name) { return why_bad_interface(name); }};
}

void describe(Fields& fields, BridgeConfig& bridge) {
  fields.required("name", "Name of the Linux bridge.", bridge.name, interface_rule());
  fields.optional("create", "Make it where it is not there; it goes with its last VM.",
                  bridge.create);
  fields.optional("address", "The host's address on it: \"10.0.0.1/24\".", bridge.address,
                  cidr_rule());
  fields.optional("mtu", "MTU in bytes.", bridge.mtu, kMtuRule);
  fields.optional("vlan_filtering", "Its ports may be in VLANs.", bridge.vlan_filtering);
  fields.rule([&](const Fields::Fault& fault) {
    if (bridge.create) return;
    const auto refuse = [&fault](const char* name, bool is_set) {
      if (is_set) fault(name, "is for a bridge that vmrig makes", R"("create": true)");
    };
    refuse("address", bridge.address.has_value());
    refuse("mtu", bridge.mtu.has_value());
    refuse("vlan_filtering", bridge.vlan_filtering);
  });
}

void describe(Fields& fields, OvsConfig& ovs) {
  fields.required("bridge", "The Open vSwitch bridge.", ovs.bridge, interface_rule());
  fields.optional("tag", "VLAN of an access port.", ovs.tag, kVlanRule);
  fields.optional("trunks", "VLANs of a trunk port.", ovs.trunks, ListRule{0, kMostVlans},
                  kVlanRule);
}

void describe(Fields& fields, RateConfig& rate) {
  fields.optional("ingress", "Most that the guest receives: \"20Mbit\".", rate.ingress,
                  rate_rule());
  fields.optional("egress", "Most that the guest sends: \"10Mbit\".", rate.egress, rate_rule());
}

void describe_tap(Fields& fields, TapConfig& tap) {
  fields.member("bridge", "The Linux bridge that the tap joins: a name, or one to make.",
                Fields::Need::kOptional, tap.bridge.has_value(), [&](Shape& shape) {
                  if (!tap.bridge) tap.bridge.emplace();
                  BridgeChoice choice{*tap.bridge};
                  visit(shape, choice);
                });
  fields.optional("device", "An existing tap to use; it stays as it is.", tap.device,
                  interface_rule());
  fields.optional("address", "The host's address on a tap without a bridge: \"10.0.0.1/30\".",
                  tap.address, cidr_rule());
  fields.member("trunk", "VLANs that pass tagged on a bridge with VLAN filtering.",
                Fields::Need::kOptional, !tap.trunk.empty(), [&](Shape& shape) {
                  visit(shape, tap.trunk, ListRule{0, kMostVlans}, kVlanRule);
                });
  fields.optional("ovs", "The Open vSwitch port that the tap becomes.", tap.ovs);
  fields.optional("txqueuelen", "Packets that wait in the host for a slow guest.", tap.txqueuelen,
                  IntRule{1, 1'000'000});
}

void describe_macvtap(Fields& fields, MacvtapConfig& macvtap) {
  fields.optional("parent", "The host's network device that a macvtap is on.", macvtap.parent,
                  interface_rule());
  fields.optional("mode", "How macvtaps of one parent see each other; bridge when not given.",
                  macvtap.mode);
}

void describe_vhost_user(Fields& fields, VhostUserConfig& vhost_user) {
  fields.optional("socket", "The Unix socket of the virtual switch.", vhost_user.socket,
                  path_rule());
  fields.member("server", "QEMU listens on the socket, and the switch connects.",
                Fields::Need::kOptional, vhost_user.server,
                [&](Shape& shape) { visit(shape, vhost_user.server); });
}

std::uint64_t parse_rate_bit_s(std::string_view text) {
  const std::invalid_argument refused("is no rate; write \"500Kbit\", \"10Mbit\" or \"2Gbit\"");
  constexpr std::size_t kUnitLength = 4;
  constexpr std::uint64_t kThousand = 1000;
  constexpr std::uint64_t kLeastBits = 64 * kThousand;
  constexpr std::uint64_t kMostBits = 1000 * kThousand * kThousand * kThousand;
  if (text.size() <= kUnitLength) throw refused;
  const std::string_view unit = text.substr(text.size() - kUnitLength);
  const std::string_view number = text.substr(0, text.size() - kUnitLength);
  std::uint64_t value = 0;
  const auto [rest, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  if (error != std::errc{} || rest != number.data() + number.size()) throw refused;
  std::uint64_t factor = 0;
  if (unit == "Kbit") factor = kThousand;
  if (unit == "Mbit") factor = kThousand * kThousand;
  if (unit == "Gbit") factor = kThousand * kThousand * kThousand;
  if (factor == 0) throw refused;
  if (value > kMostBits / factor || value * factor < kLeastBits) {
    throw std::invalid_argument("is out of range: 64Kbit to 1000Gbit");
  }
  return value * factor;
}

}  // namespace vmrig
