// Actions on the network to JSON and back, for the plan and the journal.
#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "hostcfg/base/error.hpp"
#include "hostcfg/facts_reader.hpp"
#include "hostcfg/net_action.hpp"

namespace vmrig {
namespace {

constexpr std::size_t kMaxName = 15;  // IFNAMSIZ less one
constexpr int kMaxQueues = 256;       // linux drivers/net/tun.c MAX_TAP_QUEUES
constexpr int kMaxMtu = 65535;
constexpr int kMaxVlan = 4094;
constexpr int kMaxOvsTag = 4095;
constexpr int kMaxTxQueueLength = 1'000'000'000;
constexpr std::uint64_t kMaxRate = std::uint64_t{1} << 50;
constexpr std::uint64_t kMaxUid = 0xfffffffe;
constexpr std::array<const char*, 4> kModes = {"bridge", "vepa", "private", "passthru"};

// Source: linux net/core/dev.c dev_valid_name.
bool is_device_name(std::string_view name) {
  if (name.empty() || name.size() > kMaxName || name == "." || name == "..") return false;
  return std::none_of(name.begin(), name.end(), [](char c) {
    return c == '/' || c == ':' || c == '%' || static_cast<unsigned char>(c) <= ' ' || c == 0x7f;
  });
}

std::string device_name(FactsReader& reader, const char* key) {
  std::string name = reader.string(key);
  if (!is_device_name(name)) reader.refuse(key, quote(name) + " is no name of a network device");
  return name;
}

std::vector<int> vlan_list(FactsReader& reader, const char* key, int highest) {
  std::vector<int> vlans;
  if (!reader.has(key)) return vlans;
  for (const std::uint64_t vlan : reader.counts(key, static_cast<std::uint64_t>(highest))) {
    vlans.push_back(static_cast<int>(vlan));
  }
  return vlans;
}

std::optional<int> optional_integer(FactsReader& reader, const char* key, int lowest, int highest) {
  if (!reader.has(key)) return std::nullopt;
  return reader.integer(key, lowest, highest);
}

std::optional<std::uint64_t> optional_count(FactsReader& reader, const char* key,
                                            std::uint64_t highest) {
  if (!reader.has(key)) return std::nullopt;
  return reader.count(key, highest);
}

template <typename Value>
void put(Json& json, const char* key, const std::optional<Value>& value) {
  if (value) json[key] = *value;
}

void put(Json& json, const char* key, const std::string& value) {
  if (!value.empty()) json[key] = value;
}

void put(Json& json, const char* key, const std::vector<int>& values) {
  if (!values.empty()) json[key] = values;
}

}  // namespace

Json to_json(const CreateBridge& action) {
  Json json = {{"name", action.name}};
  put(json, "address", action.address);
  put(json, "mtu", action.mtu);
  if (action.vlan_filtering) json["vlan_filtering"] = action.vlan_filtering;
  return json;
}

void read_action(FactsReader& reader, CreateBridge& action) {
  action.name = device_name(reader, "name");
  if (reader.has("address")) action.address = reader.string("address");
  action.mtu = optional_integer(reader, "mtu", 1, kMaxMtu);
  if (reader.has("vlan_filtering")) action.vlan_filtering = reader.boolean("vlan_filtering");
}

Json to_json(const CreateTap& action) {
  Json json = {{"name", action.name}, {"queues", action.queues}};
  put(json, "owner_uid", action.owner_uid);
  put(json, "mtu", action.mtu);
  put(json, "mac", action.mac);
  put(json, "txqueuelen", action.txqueuelen);
  return json;
}

void read_action(FactsReader& reader, CreateTap& action) {
  action.name = device_name(reader, "name");
  action.queues = reader.integer("queues", 1, kMaxQueues);
  if (const auto uid = optional_count(reader, "owner_uid", kMaxUid)) {
    action.owner_uid = static_cast<unsigned>(*uid);
  }
  action.mtu = optional_integer(reader, "mtu", 1, kMaxMtu);
  if (reader.has("mac")) action.mac = reader.string("mac");
  action.txqueuelen = optional_integer(reader, "txqueuelen", 0, kMaxTxQueueLength);
}

Json to_json(const JoinBridge& action) {
  Json json = {{"device", action.device}, {"bridge", action.bridge}};
  put(json, "vlan", action.vlan);
  put(json, "trunk", action.trunk);
  return json;
}

void read_action(FactsReader& reader, JoinBridge& action) {
  action.device = device_name(reader, "device");
  action.bridge = device_name(reader, "bridge");
  action.vlan = optional_integer(reader, "vlan", 1, kMaxVlan);
  action.trunk = vlan_list(reader, "trunk", kMaxVlan);
}

Json to_json(const SetAddress& action) {
  return {{"device", action.device}, {"cidr", action.cidr}};
}

void read_action(FactsReader& reader, SetAddress& action) {
  action.device = device_name(reader, "device");
  action.cidr = reader.string("cidr");
}

Json to_json(const CreateVlan& action) {
  return {{"name", action.name}, {"parent", action.parent}, {"vlan", action.vlan}};
}

void read_action(FactsReader& reader, CreateVlan& action) {
  action.name = device_name(reader, "name");
  action.parent = device_name(reader, "parent");
  action.vlan = reader.integer("vlan", 1, kMaxVlan);
}

Json to_json(const CreateMacvtap& action) {
  Json json = {
      {"name", action.name}, {"parent", action.parent}, {"mode", action.mode}, {"mac", action.mac}};
  put(json, "mtu", action.mtu);
  return json;
}

void read_action(FactsReader& reader, CreateMacvtap& action) {
  action.name = device_name(reader, "name");
  action.parent = device_name(reader, "parent");
  action.mode = reader.string("mode");
  if (std::find(kModes.begin(), kModes.end(), action.mode) == kModes.end()) {
    reader.refuse("mode", quote(action.mode) + " is no mode of a macvtap");
  }
  action.mac = reader.string("mac");
  action.mtu = optional_integer(reader, "mtu", 1, kMaxMtu);
}

Json to_json(const SetRate& action) {
  Json json = {{"device", action.device}};
  put(json, "ingress_bit_s", action.ingress_bit_s);
  put(json, "egress_bit_s", action.egress_bit_s);
  return json;
}

void read_action(FactsReader& reader, SetRate& action) {
  action.device = device_name(reader, "device");
  action.ingress_bit_s = optional_count(reader, "ingress_bit_s", kMaxRate);
  action.egress_bit_s = optional_count(reader, "egress_bit_s", kMaxRate);
}

Json to_json(const AddOvsPort& action) {
  Json json = {{"bridge", action.bridge}, {"port", action.port}};
  put(json, "tag", action.tag);
  put(json, "trunks", action.trunks);
  return json;
}

void read_action(FactsReader& reader, AddOvsPort& action) {
  action.bridge = device_name(reader, "bridge");
  action.port = device_name(reader, "port");
  action.tag = optional_integer(reader, "tag", 0, kMaxOvsTag);
  action.trunks = vlan_list(reader, "trunks", kMaxOvsTag);
}

Json to_json(const NetOldState& old) {
  Json json = Json::object();
  if (old.existed) json["existed"] = old.existed;
  put(json, "mark", old.mark);
  put(json, "master", old.master);
  for (const PortVlan& vlan : old.vlans) {
    json["vlans"].push_back({{"id", vlan.id}, {"pvid", vlan.pvid}, {"untagged", vlan.untagged}});
  }
  return json;
}

NetOldState read_net_old_state(FactsReader reader) {
  NetOldState old;
  if (reader.has("existed")) old.existed = reader.boolean("existed");
  if (reader.has("mark")) old.mark = reader.string("mark");
  if (reader.has("master")) old.master = device_name(reader, "master");
  if (reader.has("vlans")) {
    for (FactsReader& vlan : reader.array("vlans")) {
      old.vlans.push_back({.id = vlan.integer("id", 1, kMaxVlan),
                           .pvid = vlan.boolean("pvid"),
                           .untagged = vlan.boolean("untagged")});
      vlan.finish();
    }
  }
  reader.finish();
  return old;
}

}  // namespace vmrig
