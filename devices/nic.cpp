#include "devices/nic.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <initializer_list>

#include "devices/ids.hpp"

namespace vmrig {
namespace {

constexpr int kLeastQueueSize = 256;  // descriptors

std::string why_bad_mac(const std::string& mac) {
  constexpr std::string_view kShape = "xx:xx:xx:xx:xx:xx";
  const std::string_view why = "is no MAC address; write \"52:54:00:12:34:56\"";
  if (mac.size() != kShape.size()) return std::string(why);
  for (std::size_t i = 0; i < mac.size(); ++i) {
    const bool hex = (mac[i] >= '0' && mac[i] <= '9') || (mac[i] >= 'a' && mac[i] <= 'f') ||
                     (mac[i] >= 'A' && mac[i] <= 'F');
    if (kShape[i] == ':' ? mac[i] != ':' : !hex) return std::string(why);
  }
  const char second = mac[1];
  const int digit = second <= '9' ? second - '0' : (second | 0x20) - 'a' + 10;
  if ((digit & 1) != 0) return "is a multicast address, which no card can have";
  if (mac == "00:00:00:00:00:00") return "is no address of a card";
  return {};
}

// One end of a forward, "[HOST]:PORT". Host parts are IPv4 addresses: slirp's parser knows no
// others here.
bool good_end(std::string_view end) {
  const std::size_t colon = end.rfind(':');
  if (colon == std::string_view::npos) return false;
  const std::string_view host = end.substr(0, colon);
  const std::string_view port = end.substr(colon + 1);
  unsigned number = 0;
  auto [rest, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (error != std::errc{} || rest != port.data() + port.size() || number < 1 || number > 65535) {
    return false;
  }
  return host.size() <= 15 && host.find_first_not_of("0123456789.") == std::string_view::npos;
}

std::string why_bad_forward(const std::string& forward) {
  const std::string_view text = forward;
  const bool known = text.substr(0, 4) == "tcp:" || text.substr(0, 4) == "udp:";
  const std::size_t dash = text.find('-');
  if (known && dash != std::string_view::npos && good_end(text.substr(4, dash - 4)) &&
      good_end(text.substr(dash + 1))) {
    return {};
  }
  return "is no forward; write \"tcp:127.0.0.1:2222-:22\" (host address and port, guest's port)";
}

// A key that suits some types only.
struct KeyUse {
  const char* key;
  bool is_set;
  std::initializer_list<NicType> types;
};

void check_keys(const NicConfig& nic, const Fields::Fault& fault) {
  using enum NicType;
  const std::initializer_list<KeyUse> uses = {
      {"forward", !nic.forward.empty(), {kUser, kPasst}},
      {"isolated", nic.isolated, {kUser, kPasst}},
      {"mtu", nic.mtu.has_value(), {kUser, kTap, kMacvtap, kVhostUser, kPasst, kNone}},
      {"vlan", nic.vlan.has_value(), {kVf, kTap, kMacvtap}},
      {"ifname", nic.ifname.has_value(), {kTap, kMacvtap}},
      {"queues", nic.queues.has_value(), {kTap, kMacvtap, kVhostUser}},
      {"vhost", nic.vhost.has_value(), {kTap, kMacvtap}},
      {"rate", nic.rate.has_value(), {kTap, kMacvtap}},
      {"bridge", nic.tap.bridge.has_value(), {kTap}},
      {"device", nic.tap.device.has_value(), {kTap}},
      {"address", nic.tap.address.has_value(), {kTap}},
      {"trunk", !nic.tap.trunk.empty(), {kTap}},
      {"ovs", nic.tap.ovs.has_value(), {kTap}},
      {"txqueuelen", nic.tap.txqueuelen.has_value(), {kTap}},
      {"parent", nic.macvtap.parent.has_value(), {kMacvtap}},
      {"mode", nic.macvtap.mode.has_value(), {kMacvtap}},
      {"socket", nic.vhost_user.socket.has_value(), {kVhostUser}},
      {"server", nic.vhost_user.server, {kVhostUser}}};
  for (const KeyUse& use : uses) {
    if (!use.is_set || std::find(use.types.begin(), use.types.end(), nic.type) != use.types.end()) {
      continue;
    }
    if (nic.type == kVf) {
      fault(use.key, "is not for a VF, which is the card itself", {});
      continue;
    }
    std::vector<std::string_view> names;
    for (const NicType type : use.types) names.push_back(name_of(type));
    fault(use.key,
          fmt::format("is not for type \"{}\", only for {}", name_of(nic.type),
                      fmt::join(names, ", ")),
          fmt::format(R"("type": "{}")", names.front()));
  }
}

// What the card itself has, which only virtio can have.
void check_model(const NicConfig& nic, const Fields::Fault& fault) {
  const bool is_vf = nic.type == NicType::kVf;
  if (is_vf && nic.model != NicModel::kVirtio) {
    fault("model", "is not for a VF, which is the card itself", {});
  }
  const bool is_virtio = nic.model == NicModel::kVirtio && !is_vf;
  const auto need_virtio = [&](const char* key, bool is_set, const char* what) {
    if (!is_set || is_virtio) return;
    fault(key, fmt::format("{}", is_vf ? "is not for a VF, which is the card itself" : what),
          is_vf ? "" : R"("model": "virtio")");
  };
  if (!is_vf) {
    need_virtio("mtu", nic.mtu.has_value(), "only the virtio model can tell the guest an MTU");
    need_virtio("queues", nic.queues.value_or(1) > 1, "only the virtio model has several queues");
    need_virtio("vhost", nic.vhost.value_or(false), "only the virtio model can have vhost");
  }
  need_virtio("rx_queue_size", nic.rx_queue_size.has_value(), "is for the virtio model only");
  need_virtio("tx_queue_size", nic.tx_queue_size.has_value(), "is for the virtio model only");
  need_virtio("packed", nic.packed, "is for the virtio model only");
  need_virtio("offloads", !nic.offloads, "is for the virtio model only");
  if (nic.type == NicType::kVhostUser) {
    need_virtio("model", !is_virtio, "vhost-user serves virtio only");
  }
  for (const auto& [key, size] : {std::pair("rx_queue_size", nic.rx_queue_size),
                                  std::pair("tx_queue_size", nic.tx_queue_size)}) {
    if (size && (*size & (*size - 1)) != 0) {
      fault(key, "is no power of two", fmt::format("\"{}\": {}", key, *size >= 512 ? 512 : 256));
    }
  }
  // Source: qemu hw/net/virtio-net.c, virtio_net_max_tx_queue_size.
  if (nic.tx_queue_size.value_or(0) > kLeastQueueSize && nic.type != NicType::kVhostUser) {
    fault("tx_queue_size", "is 256 at most unless the type is vhost-user",
          "\"tx_queue_size\": 256");
  }
}

void check_link(const NicConfig& nic, const Fields::Fault& fault) {
  if (!nic.link) return;
  const bool is_state = *nic.link == NicLink::kUp || *nic.link == NicLink::kDown;
  if (nic.type == NicType::kVf && is_state) {
    fault("link", "of a VF is what its PF is told: auto, enable or disable",
          *nic.link == NicLink::kUp ? R"("link": "enable")" : R"("link": "disable")");
  } else if (nic.type != NicType::kVf && !is_state) {
    fault("link", "is up or down, but for a VF", R"("link": "up")");
  }
}

void check_tap(const NicConfig& nic, const Fields::Fault& fault) {
  const TapConfig& tap = nic.tap;
  if (!tap.bridge && !tap.ovs && !tap.address && !tap.device) {
    fault("bridge",
          "is missing: a tap is a port of a bridge (\"bridge\" or \"ovs\"), or has an "
          "\"address\" of its own",
          R"("bridge": "br0")");
  }
  if (tap.bridge && tap.ovs) fault("ovs", "a tap can be a port of one bridge only", {});
  if (tap.address && (tap.bridge || tap.ovs)) {
    fault("address", "is for a tap that is no port of a bridge",
          R"("bridge": {"name": …, "create": true, "address": …})");
  }
  if (tap.address && tap.device) fault("address", "an existing tap keeps the address it has", {});
  if (tap.device && nic.ifname) fault("ifname", "is for a tap that vmrig makes", {});
  if (tap.device && tap.txqueuelen) fault("txqueuelen", "is for a tap that vmrig makes", {});
  const bool wants_vlans = nic.vlan || !tap.trunk.empty();
  if (wants_vlans && !tap.bridge) {
    fault(nic.vlan ? "vlan" : "trunk", "is for a port of a Linux bridge",
          tap.ovs ? R"("ovs": {"bridge": …, "tag": …})" : R"("bridge": "br0")");
  }
  if (wants_vlans && tap.bridge && tap.bridge->create && !tap.bridge->vlan_filtering) {
    fault(nic.vlan ? "vlan" : "trunk", "needs a bridge with VLAN filtering",
          R"("bridge": {…, "vlan_filtering": true})");
  }
  if (nic.vlan == 0) fault("vlan", "is out of range: 1 to 4094", {});
  if (tap.bridge && tap.bridge->mtu && nic.mtu && *nic.mtu > *tap.bridge->mtu) {
    fault("mtu", fmt::format("is more than the {} of the bridge", *tap.bridge->mtu), {});
  }
}

void check_passt(const NicConfig& nic, const Fields::Fault& fault) {
  if (nic.isolated && !nic.forward.empty()) {
    fault("forward", "passt can't forward to an isolated guest", R"("type": "user")");
  }
  for (const std::string& forward : nic.forward) {
    const std::size_t dash = forward.find('-');
    if (dash != std::string::npos && dash + 1 < forward.size() && forward[dash + 1] != ':') {
      fault("forward",
            fmt::format("\"{}\" names an address of the guest, which passt knows itself", forward),
            R"("forward": ["tcp:127.0.0.1:2222-:22"])");
    }
  }
}

void check_type(const NicConfig& nic, const Fields::Fault& fault) {
  switch (nic.type) {
    case NicType::kTap:
      return check_tap(nic, fault);
    case NicType::kMacvtap:
      if (!nic.macvtap.parent) {
        fault("parent", "is missing: a macvtap is on a device of the host", R"("parent": "eno1")");
      }
      if (nic.vlan == 0) fault("vlan", "is out of range: 1 to 4094", {});
      return;
    case NicType::kVhostUser:
      if (!nic.vhost_user.socket) {
        fault("socket", "is missing: the virtual switch's", R"("socket": "/run/ovs/vhu0.sock")");
      }
      return;
    case NicType::kPasst:
      return check_passt(nic, fault);
    case NicType::kUser:
    case NicType::kVf:
    case NicType::kNone:
      return;
  }
}

std::uint64_t hash_of(std::string_view vm_name, std::string_view nic_id) {
  // FNV-1a, 64 bits: what is made of it must never change between versions, so no std::hash.
  std::uint64_t hash = 0xcbf29ce484222325;
  auto mix = [&hash](std::string_view text) {
    for (char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  };
  mix(vm_name);
  mix(std::string_view("\0", 1));
  mix(nic_id);
  // FNV leaves names that differ in one character alike; this spreads them (MurmurHash3's
  // finaliser).
  hash = (hash ^ (hash >> 33)) * 0xff51afd7ed558ccd;
  hash = (hash ^ (hash >> 33)) * 0xc4ceb9fe1a85ec53;
  return hash ^ (hash >> 33);
}

}  // namespace

std::vector<std::string_view> enum_names(NicType) {
  return {"user", "vf", "tap", "macvtap", "vhost-user", "passt", "none"};
}
std::vector<std::string_view> enum_names(NicModel) { return {"virtio", "e1000e", "e1000"}; }
std::vector<std::string_view> enum_names(NicLink) {
  return {"auto", "enable", "disable", "up", "down"};
}

void describe(Fields& fields, NicConfig& nic) {
  fields.required("id", "Name of the NIC in vmrig and QMP.", nic.id, id_rule());
  fields.optional("type",
                  "The host end: user and passt need no privilege, vf is a VF of an SR-IOV device, "
                  "none an open end.",
                  nic.type);
  fields.optional("model", "The card that the guest sees.", nic.model);
  fields.optional("mac", "MAC address; stable from the VM's name and the id when not given.",
                  nic.mac,
                  TextRule{.min_length = 17,
                           .max_length = 17,
                           .pattern = "^[0-9A-Fa-f][02468ACEace](:[0-9A-Fa-f]{2}){5}$",
                           .meaning = "a unicast MAC address",
                           .check = why_bad_mac});
  fields.optional("forward", "Host ports that lead to the guest: \"tcp:127.0.0.1:2222-:22\".",
                  nic.forward, ListRule{0, 256},
                  TextRule{.min_length = 1,
                           .max_length = 64,
                           .pattern = "^(tcp|udp):[0-9.]*:[0-9]{1,5}-[0-9.]*:[0-9]{1,5}$",
                           .meaning = "protocol:[host address]:port-[guest address]:port",
                           .check = why_bad_forward});
  fields.optional("isolated", "The guest reaches neither the host nor the outside.", nic.isolated);
  fields.optional("mtu", "MTU in bytes that the guest is told.", nic.mtu, IntRule{68, 65535});
  fields.optional("link", "At the start: up or down; of a VF auto, enable or disable.", nic.link);
  fields.optional("vlan", "VLAN on the host's side, untagged in the guest; 0 for none.", nic.vlan,
                  IntRule{0, 4094});
  fields.optional("ifname",
                  "Name of the tap or macvtap; of the VM's name and the id when not given.",
                  nic.ifname, interface_rule());
  fields.optional("queues", "Queue pairs; at most one a vCPU.", nic.queues, IntRule{1, 256});
  fields.optional("vhost", "The host's kernel moves the packets; where it can when not given.",
                  nic.vhost);
  const IntRule queue_size{kLeastQueueSize, 1024};
  fields.optional("rx_queue_size", "Descriptors of a receive queue, a power of two.",
                  nic.rx_queue_size, queue_size);
  fields.optional("tx_queue_size", "Descriptors of a transmit queue, a power of two.",
                  nic.tx_queue_size, queue_size);
  fields.member("packed", "Packed virtqueues.", Fields::Need::kOptional, nic.packed,
                [&](Shape& shape) { visit(shape, nic.packed); });
  fields.member("offloads", "The guest may leave checksums and segmentation to the host.",
                Fields::Need::kOptional, !nic.offloads,
                [&](Shape& shape) { visit(shape, nic.offloads); });
  fields.optional("rate", "Limits, as the guest sees them.", nic.rate);
  describe_tap(fields, nic.tap);
  describe_macvtap(fields, nic.macvtap);
  describe_vhost_user(fields, nic.vhost_user);
  describe_vf(fields, nic.vf, nic.type == NicType::kVf ? VfKeys::kOfVf : VfKeys::kOfNone, nic.vlan);
  fields.rule([&](const Fields::Fault& fault) {
    check_keys(nic, fault);
    check_model(nic, fault);
    check_link(nic, fault);
    check_type(nic, fault);
  });
}

std::string stable_mac(std::string_view vm_name, std::string_view nic_id) {
  const std::uint64_t hash = hash_of(vm_name, nic_id);
  return fmt::format("52:54:00:{:02x}:{:02x}:{:02x}", (hash >> 40) & 0xff, (hash >> 24) & 0xff,
                     hash & 0xff);
}

std::string mac_of(const NicConfig& nic, std::string_view vm_name) {
  std::string mac = nic.mac.value_or(stable_mac(vm_name, nic.id));
  for (char& c : mac) c = c >= 'A' && c <= 'F' ? static_cast<char>(c + ('a' - 'A')) : c;
  return mac;
}

const std::vector<std::string>& passt_places() {
  static const std::vector<std::string> kPlaces = {"/usr/bin/passt", "/usr/local/bin/passt"};
  return kPlaces;
}

bool has_shared_network(const NicConfig& nic) {
  return nic.type != NicType::kUser && nic.type != NicType::kPasst && nic.type != NicType::kNone;
}

bool makes_interface(const NicConfig& nic) {
  return nic.type == NicType::kMacvtap || (nic.type == NicType::kTap && !nic.tap.device);
}

std::string interface_name(const NicConfig& nic, std::string_view vm_name) {
  if (nic.type == NicType::kTap && nic.tap.device) return *nic.tap.device;
  if (!makes_interface(nic)) return {};
  if (nic.ifname) return *nic.ifname;
  std::string name = fmt::format("{}-{}", vm_name, nic.id);
  if (why_bad_interface(name).empty()) return name;
  // As much of the VM's name as there is room for before "-" and eight digits.
  constexpr std::size_t kReadable = 6;
  return fmt::format("{}-{:08x}", vm_name.substr(0, kReadable),
                     static_cast<std::uint32_t>(hash_of(vm_name, nic.id)));
}

}  // namespace vmrig
