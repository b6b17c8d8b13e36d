#include "qmp/caps.hpp"

#include <array>
#include <cstddef>
#include <utility>

#include "qmp/flat_json.hpp"

namespace qmp {
namespace {

using Strings = std::set<std::string>;
using StringSets = std::map<std::string, Strings>;

constexpr std::array<std::pair<MemLockForm, std::string_view>, 3> kMemLockNames{{
    {MemLockForm::none, "none"},
    {MemLockForm::boolean, "boolean"},
    {MemLockForm::on_fault, "on-fault"},
}};

[[noreturn]] void bad(const std::string& member, const std::string& reason) {
  throw CapsError("QEMU capabilities: " + member + ": " + reason);
}

/// Reads the members of one object; each has to be there and of its type, and no other may be.
class Reader {
 public:
  Reader(const Json& json, std::string where) : json_(json), where_(std::move(where)) {
    if (!json_.is_object()) bad(where_, "is no object");
  }

  const Json& member(const std::string& key) {
    const auto found = json_.find(key);
    if (found == json_.end()) bad(path(key), "is missing");
    ++read_;
    return *found;
  }
  std::string path(const std::string& key) const { return where_ + "." + key; }

  bool boolean(const std::string& key) {
    const Json& value = member(key);
    if (!value.is_boolean()) bad(path(key), "is no boolean");
    return value.get<bool>();
  }
  std::uint32_t number(const std::string& key) {
    const Json& value = member(key);
    // A parsed non-negative integer is unsigned; a constructed one may be signed.
    const bool usable =
        value.is_number_unsigned() || (value.is_number_integer() && value.get<std::int64_t>() >= 0);
    if (!usable || value.get<std::uint64_t>() > 0x7fffffffU)
      bad(path(key), "is no number in range");
    return static_cast<std::uint32_t>(value.get<std::uint64_t>());
  }
  std::string text(const std::string& key) { return text_of(member(key), path(key)); }
  Reader object(const std::string& key) { return {member(key), path(key)}; }
  std::vector<Reader> objects(const std::string& key) {
    const Json& value = member(key);
    if (!value.is_array()) bad(path(key), "is no array");
    std::vector<Reader> objects;
    for (const Json& each : value) {
      objects.emplace_back(each, path(key) + "[" + std::to_string(objects.size()) + "]");
    }
    return objects;
  }
  Strings strings(const std::string& key) { return strings_of(member(key), path(key)); }
  StringSets string_sets(const std::string& key) {
    const Json& value = member(key);
    if (!value.is_object()) bad(path(key), "is no object");
    StringSets sets;
    for (const auto& [name, list] : value.items()) {
      sets.emplace(name, strings_of(list, path(key) + "." + name));
    }
    return sets;
  }
  void done() const {
    if (read_ != json_.size()) bad(where_, "has a member of no meaning here");
  }

 private:
  static std::string text_of(const Json& value, const std::string& where) {
    if (!value.is_string()) bad(where, "is no string");
    return value.get<std::string>();
  }
  static Strings strings_of(const Json& value, const std::string& where) {
    if (!value.is_array()) bad(where, "is no array");
    Strings strings;
    for (const Json& each : value) {
      strings.insert(strings.end(), text_of(each, where));  // they are in order mostly
    }
    if (strings.size() != value.size()) bad(where, "names something twice");
    return strings;
  }

  const Json& json_;
  std::string where_;
  std::size_t read_ = 0;
};

Json to_json_of(const MachineCaps& machine) {
  return Json{{"name", machine.name},
              {"alias", machine.alias},
              {"max_cpus", machine.max_cpus},
              {"is_default", machine.is_default},
              {"hotpluggable_cpus", machine.hotpluggable_cpus},
              {"deprecated", machine.deprecated},
              {"default_ram_id", machine.default_ram_id}};
}

template <class In>
MachineCaps machine_from(In in) {
  MachineCaps machine;
  machine.name = in.text("name");
  machine.alias = in.text("alias");
  machine.max_cpus = in.number("max_cpus");
  machine.is_default = in.boolean("is_default");
  machine.hotpluggable_cpus = in.boolean("hotpluggable_cpus");
  machine.deprecated = in.boolean("deprecated");
  machine.default_ram_id = in.text("default_ram_id");
  in.done();
  return machine;
}

// `In` is a Reader, or the faster one for what was written here.
template <class In>
QemuCaps caps_from(In in) {
  if (in.number("format") != static_cast<std::uint32_t>(kCapsFormat)) {
    bad("caps.format", "is another format");
  }
  QemuCaps caps;
  In version = in.object("version");
  caps.version.major = static_cast<int>(version.number("major"));
  caps.version.minor = static_cast<int>(version.number("minor"));
  caps.version.micro = static_cast<int>(version.number("micro"));
  caps.version.package = version.text("package");
  version.done();
  for (In& each : in.objects("machines")) caps.machines.push_back(machine_from(std::move(each)));
  caps.commands = in.strings("commands");
  caps.events = in.strings("events");
  caps.devices = in.strings("devices");
  caps.cpu_models = in.strings("cpu_models");
  caps.object_types = in.strings("object_types");
  caps.accelerators = in.strings("accelerators");
  caps.aio_modes = in.strings("aio_modes");
  caps.blockdev_drivers = in.strings("blockdev_drivers");
  caps.netdev_backends = in.strings("netdev_backends");
  caps.chardev_backends = in.strings("chardev_backends");
  caps.device_properties = in.string_sets("device_properties");
  caps.machine_properties = in.string_sets("machine_properties");
  caps.accel_properties = in.string_sets("accel_properties");
  caps.json_cli_object = in.boolean("json_cli_object");
  caps.json_cli_device = in.boolean("json_cli_device");
  caps.json_cli_netdev = in.boolean("json_cli_netdev");
  caps.object_add_props = in.boolean("object_add_props");
  caps.action_option = in.boolean("action_option");
  caps.sandbox_option = in.boolean("sandbox_option");
  caps.chardev_reconnect_ms = in.boolean("chardev_reconnect_ms");
  caps.realtime_mlock = in.boolean("realtime_mlock");
  const std::string mem_lock = in.text("overcommit_mem_lock");
  bool known = false;
  for (const auto& [form, name] : kMemLockNames) {
    if (mem_lock != name) continue;
    caps.overcommit_mem_lock = form;
    known = true;
  }
  if (!known) bad("caps.overcommit_mem_lock", "is not one of none, boolean, on-fault");
  caps.run_with = in.strings("run_with");
  in.done();
  return caps;
}

bool holds(const Strings& strings, std::string_view name) {
  return strings.contains(std::string(name));
}

bool holds(const StringSets& sets, const std::string& key, std::string_view name) {
  const auto found = sets.find(key);
  return found != sets.end() && holds(found->second, name);
}

}  // namespace

const std::vector<std::string>& probed_devices() {
  static const std::vector<std::string> names{
      "vfio-pci",       "virtio-net-pci", "virtio-blk-pci",     "virtio-scsi-pci",
      "virtio-mem-pci", "virtio-rng-pci", "virtio-balloon-pci", "pcie-root-port",
      "ICH9-LPC",       "PIIX4_PM",       "vhost-user-fs-pci",  "vhost-vsock-pci",
      "pc-dimm",
  };
  return names;
}

const MachineCaps* QemuCaps::machine(std::string_view name_or_alias) const {
  for (const MachineCaps& each : machines) {
    if (each.name == name_or_alias || (!each.alias.empty() && each.alias == name_or_alias)) {
      return &each;
    }
  }
  return nullptr;
}

bool QemuCaps::has_command(std::string_view name) const { return holds(commands, name); }
bool QemuCaps::has_device(std::string_view name) const { return holds(devices, name); }

bool QemuCaps::has_object(std::string_view type) const {
  if (!object_types.empty()) return holds(object_types, type);
  static const Strings everywhere{"memory-backend-ram",
                                  "memory-backend-file",
                                  "memory-backend-memfd",
                                  "iothread",
                                  "rng-random",
                                  "rng-builtin",
                                  "secret",
                                  "throttle-group",
                                  "tls-creds-x509",
                                  "authz-simple",
                                  "can-bus"};
  return holds(everywhere, type);
}

bool QemuCaps::has_accelerator(std::string_view name) const { return holds(accelerators, name); }

bool QemuCaps::has_device_property(std::string_view device, std::string_view property) const {
  return holds(device_properties, std::string(device), property);
}

bool QemuCaps::has_machine_property(std::string_view name_or_alias,
                                    std::string_view property) const {
  const MachineCaps* found = machine(name_or_alias);
  if (found == nullptr) return false;
  // Versions of one family share their properties; "pc-q35-…" is q35's family, "pc-…" pc's.
  const bool q35 = found->alias == "q35" || found->name.starts_with("pc-q35-");
  const bool pc = found->alias == "pc" || found->name.starts_with("pc-i440fx-");
  return (q35 && holds(machine_properties, "q35", property)) ||
         (pc && holds(machine_properties, "pc", property));
}

bool QemuCaps::has_accel_property(std::string_view accelerator, std::string_view property) const {
  return holds(accel_properties, std::string(accelerator), property);
}

bool QemuCaps::has_run_with(std::string_view parameter) const { return holds(run_with, parameter); }

Json QemuCaps::to_json() const {
  Json list = Json::array();
  for (const MachineCaps& each : machines) list.push_back(to_json_of(each));
  std::string mem_lock;
  for (const auto& [form, name] : kMemLockNames) {
    if (form == overcommit_mem_lock) mem_lock = name;
  }
  return Json{{"format", kCapsFormat},
              {"version", Json{{"major", version.major},
                               {"minor", version.minor},
                               {"micro", version.micro},
                               {"package", version.package}}},
              {"machines", std::move(list)},
              {"commands", commands},
              {"events", events},
              {"devices", devices},
              {"cpu_models", cpu_models},
              {"object_types", object_types},
              {"accelerators", accelerators},
              {"aio_modes", aio_modes},
              {"blockdev_drivers", blockdev_drivers},
              {"netdev_backends", netdev_backends},
              {"chardev_backends", chardev_backends},
              {"device_properties", device_properties},
              {"machine_properties", machine_properties},
              {"accel_properties", accel_properties},
              {"json_cli_object", json_cli_object},
              {"json_cli_device", json_cli_device},
              {"json_cli_netdev", json_cli_netdev},
              {"object_add_props", object_add_props},
              {"action_option", action_option},
              {"sandbox_option", sandbox_option},
              {"chardev_reconnect_ms", chardev_reconnect_ms},
              {"realtime_mlock", realtime_mlock},
              {"overcommit_mem_lock", mem_lock},
              {"run_with", run_with}};
}

QemuCaps QemuCaps::from_json(const Json& json) { return caps_from(Reader(json, "caps")); }

QemuCaps QemuCaps::parse(std::string_view text) {
  try {
    return caps_from(detail::FlatJson::of_text(text));
  } catch (const detail::FlatJson::NotFlat&) {
    // Written by hand, or damaged: the parser below takes it, or says what is wrong.
  } catch (const CapsError&) {
  }
  // A whole set is flat; depth beyond this is no QemuCaps, and parsing it could exhaust the stack.
  constexpr int kMaxDepth = 8;
  const Json::parser_callback_t shallow = [](int depth, Json::parse_event_t, Json&) {
    if (depth > kMaxDepth) bad("caps", "is nested too deeply");
    return true;
  };
  try {
    return from_json(Json::parse(text, shallow));
  } catch (const Json::exception& error) {
    bad("caps", error.what());
  }
}

}  // namespace qmp
