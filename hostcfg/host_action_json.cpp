// Host actions to JSON and back, for the plan and the journal.
#include <array>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "hostcfg/base/error.hpp"
#include "hostcfg/facts_reader.hpp"
#include "hostcfg/host_action.hpp"

namespace vmrig {
namespace {

constexpr const char* kSubject = "a host action";
constexpr int kMaxVfs = 65535;
constexpr int kMaxVlan = 4094;
constexpr int kMaxQos = 7;
constexpr std::uint64_t kMaxPoolPages = std::uint64_t{1} << 40;
constexpr int kMaxRateMbit = 1'000'000'000;

// A value of sysfs that goes back into a path or an attribute must be a name, not a path.
std::string checked_name(FactsReader& reader, const char* key) {
  std::string name = reader.string(key);
  const bool bad = name == "." || name == ".." || name.find('/') != std::string::npos ||
                   name.find('\n') != std::string::npos;
  if (bad) reader.refuse(key, quote(name) + " is not a name");
  return name;
}

template <typename Values>
std::string one_of(FactsReader& reader, const char* key, const Values& values) {
  std::string text = reader.string(key);
  for (const char* value : values) {
    if (text == value) return text;
  }
  reader.refuse(key, quote(text) + " is not one of its values");
}

VfSettings read_settings(FactsReader reader) {
  static constexpr std::array<const char*, 2> kProtocols = {"802.1Q", "802.1ad"};
  static constexpr std::array<const char*, 3> kLinkStates = {"auto", "enable", "disable"};
  VfSettings settings;
  if (reader.has("mac")) settings.mac = reader.string("mac");
  if (reader.has("vlan")) settings.vlan = reader.integer("vlan", 0, kMaxVlan);
  if (reader.has("qos")) settings.qos = reader.integer("qos", 0, kMaxQos);
  if (reader.has("vlan_proto")) settings.vlan_proto = one_of(reader, "vlan_proto", kProtocols);
  if (reader.has("trust")) settings.trust = reader.boolean("trust");
  if (reader.has("spoofchk")) settings.spoofchk = reader.boolean("spoofchk");
  if (reader.has("link_state")) settings.link_state = one_of(reader, "link_state", kLinkStates);
  if (reader.has("min_rate_mbit")) {
    settings.min_rate_mbit = reader.integer("min_rate_mbit", 0, kMaxRateMbit);
  }
  if (reader.has("max_rate_mbit")) {
    settings.max_rate_mbit = reader.integer("max_rate_mbit", 0, kMaxRateMbit);
  }
  reader.finish();
  return settings;
}

struct Write {
  Json operator()(const LoadModule& action) const { return {{"name", action.name}}; }
  Json operator()(const SetVfCount& action) const {
    return {{"pf", action.pf.to_string()}, {"count", action.count}};
  }
  Json operator()(const SetVf& action) const {
    return {{"pf", action.pf.to_string()},
            {"index", action.index},
            {"settings", to_json(action.settings)}};
  }
  Json operator()(const BindDriver& action) const {
    return {{"device", action.device.to_string()}, {"driver", action.driver}};
  }
  template <typename NetAction>
  Json operator()(const NetAction& action) const {
    return to_json(action);
  }
};

template <typename Action>
bool read_if(const std::string& kind, FactsReader& reader, HostAction& read) {
  if (kind != action_kind(Action{})) return false;
  Action action;
  read_action(reader, action);
  read = std::move(action);
  return true;
}

// Whether it is one of these; reads it then.
template <typename... Actions>
bool read_one_of(const std::string& kind, FactsReader& reader, HostAction& action) {
  return (read_if<Actions>(kind, reader, action) || ...);
}

}  // namespace

Json to_json(const VfSettings& settings) {
  Json json = Json::object();
  if (settings.mac) json["mac"] = *settings.mac;
  if (settings.vlan) json["vlan"] = *settings.vlan;
  if (settings.qos) json["qos"] = *settings.qos;
  if (settings.vlan_proto) json["vlan_proto"] = *settings.vlan_proto;
  if (settings.trust) json["trust"] = *settings.trust;
  if (settings.spoofchk) json["spoofchk"] = *settings.spoofchk;
  if (settings.link_state) json["link_state"] = *settings.link_state;
  if (settings.min_rate_mbit) json["min_rate_mbit"] = *settings.min_rate_mbit;
  if (settings.max_rate_mbit) json["max_rate_mbit"] = *settings.max_rate_mbit;
  return json;
}

VfSettings vf_settings_from_json(const Json& json) {
  return read_settings(FactsReader(json, {}, kSubject));
}

Json to_json(const HostAction& action) {
  Json json = std::visit(Write{}, action);
  json["kind"] = action_kind(action);
  return json;
}

HostAction host_action_from_json(const Json& json) {
  FactsReader reader(json, {}, kSubject);
  const std::string kind = reader.string("kind");
  HostAction action;
  if (kind == action_kind(LoadModule{})) {
    action = LoadModule{checked_name(reader, "name")};
  } else if (kind == action_kind(SetVfCount{})) {
    const PciAddress pf = reader.pci_address("pf");
    action = SetVfCount{pf, reader.integer("count", 0, kMaxVfs)};
  } else if (kind == action_kind(SetVf{})) {
    const PciAddress pf = reader.pci_address("pf");
    const int index = reader.integer("index", 0, kMaxVfs - 1);
    action = SetVf{pf, index, read_settings(reader.object("settings"))};
  } else if (kind == action_kind(BindDriver{})) {
    const PciAddress device = reader.pci_address("device");
    action = BindDriver{device, checked_name(reader, "driver")};
  } else if (!read_one_of<CreateBridge, CreateTap, JoinBridge, SetAddress, CreateVlan,
                          CreateMacvtap, SetRate, AddOvsPort, ShareCgroup, CreateCgroup,
                          LimitDevice, ReservePages, MountHugetlbfs, GrantAccess, MakeSocket>(
                 kind, reader, action)) {
    reader.refuse("kind", quote(kind) + " is no kind of host action");
  }
  reader.finish();
  return action;
}

Json to_json(const OldState& old) {
  Json json = Json::object();
  if (old.loaded) json["loaded"] = old.loaded;
  if (old.vf_count != 0) json["vf_count"] = old.vf_count;
  if (!old.vf.empty()) json["vf"] = to_json(old.vf);
  if (!old.driver.empty()) json["driver"] = old.driver;
  if (!old.driver_override.empty()) json["driver_override"] = old.driver_override;
  if (!old.net.empty()) json["net"] = to_json(old.net);
  if (!old.cgroup.empty()) json["cgroup"] = to_json(old.cgroup);
  if (old.pool_pages != 0) json["pool_pages"] = old.pool_pages;
  if (!old.access.empty()) json["access"] = to_json(old.access);
  return json;
}

OldState old_state_from_json(const Json& json) {
  FactsReader reader(json, {}, "what stood before a host action");
  OldState old;
  if (reader.has("loaded")) old.loaded = reader.boolean("loaded");
  if (reader.has("vf_count")) old.vf_count = reader.integer("vf_count", 0, kMaxVfs);
  if (reader.has("vf")) old.vf = read_settings(reader.object("vf"));
  if (reader.has("driver")) old.driver = checked_name(reader, "driver");
  if (reader.has("driver_override")) {
    old.driver_override = checked_name(reader, "driver_override");
  }
  if (reader.has("net")) old.net = read_net_old_state(reader.object("net"));
  if (reader.has("cgroup")) old.cgroup = read_cgroup_old_state(reader.object("cgroup"));
  if (reader.has("pool_pages")) old.pool_pages = reader.count("pool_pages", kMaxPoolPages);
  if (reader.has("access")) old.access = read_access_old_state(reader.object("access"));
  reader.finish();
  return old;
}

}  // namespace vmrig
