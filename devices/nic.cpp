#include "devices/nic.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cstdint>

#include "devices/ids.hpp"

namespace vmrig {
namespace {

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

std::string_view driver_of(NicModel model) {
  switch (model) {
    case NicModel::kVirtio:
      return "virtio-net-pci";
    case NicModel::kE1000e:
      return "e1000e";
    case NicModel::kE1000:
      return "e1000";
  }
  return "virtio-net-pci";
}

}  // namespace

std::vector<std::string_view> enum_names(NicType) { return {"user", "vf"}; }
std::vector<std::string_view> enum_names(NicModel) { return {"virtio", "e1000e", "e1000"}; }

void describe(Fields& fields, NicConfig& nic) {
  fields.required("id", "Name of the NIC in vmrig and QMP.", nic.id, id_rule());
  fields.optional("type",
                  "The host end: user is a NAT inside QEMU that needs no privilege, vf a VF of an "
                  "SR-IOV device.",
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
  const bool is_vf = nic.type == NicType::kVf;
  describe_vf(fields, nic.vf, is_vf);
  fields.rule([&](const Fields::Fault& fault) {
    if (is_vf) {
      constexpr const char* kWhy = "is not for a VF, which is the card itself";
      if (!nic.forward.empty()) fault("forward", kWhy, {});
      if (nic.isolated) fault("isolated", kWhy, {});
      if (nic.mtu) fault("mtu", kWhy, {});
      if (nic.model != NicModel::kVirtio) fault("model", kWhy, {});
      return;
    }
    if (nic.mtu && nic.model != NicModel::kVirtio) {
      fault("mtu", "only the virtio model can tell the guest an MTU", R"("model": "virtio")");
    }
  });
}

std::string stable_mac(std::string_view vm_name, std::string_view nic_id) {
  // FNV-1a, 64 bits: the address must never change between versions, so no std::hash.
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
  hash ^= hash >> 33;
  return fmt::format("52:54:00:{:02x}:{:02x}:{:02x}", (hash >> 40) & 0xff, (hash >> 24) & 0xff,
                     hash & 0xff);
}

DeviceDescription describe_nic(const NicConfig& nic, std::string origin, std::string_view vm_name,
                               int bootindex) {
  Json netdev = {{"type", name_of(nic.type)}, {"id", nic.id}};
  if (nic.isolated) netdev["restrict"] = true;
  for (const std::string& forward : nic.forward) {
    netdev["hostfwd"].push_back(Json{{"str", forward}});
  }
  Json device = {{"driver", driver_of(nic.model)},
                 {"id", nic.id},
                 {"netdev", nic.id},
                 {"mac", nic.mac ? *nic.mac : stable_mac(vm_name, nic.id)}};
  if (nic.mtu) device["host_mtu"] = *nic.mtu;
  if (bootindex >= 0) {
    device["bootindex"] = bootindex;
  } else {
    device["romfile"] = "";  // no network boot: the firmware need not load the option ROM
  }
  return {.id = nic.id,
          .origin = std::move(origin),
          .backends = {{BackendKind::kNetdev, std::move(netdev)}},
          .front_ends = {{FrontEnd::Bus::kPci, std::move(device)}}};
}

}  // namespace vmrig
