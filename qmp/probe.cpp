#include "qmp/probe.hpp"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qmp/schema.hpp"

namespace qmp {
namespace {

const std::string& text(const Json& object, const char* key) {
  static const std::string none;
  const auto found = object.find(key);
  if (found == object.end()) return none;
  const auto* value = found->get_ptr<const std::string*>();
  return value == nullptr ? none : *value;
}

bool flag(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_boolean() && found->get<bool>();
}

/// The "name" of every element.
std::set<std::string> names_of(const Json& list) {
  std::set<std::string> names;
  for (const Json& each : list) {
    if (each.is_object() && !text(each, "name").empty()) names.insert(text(each, "name"));
  }
  return names;
}

Request list_types(const char* interface) {
  return Request{"qom-list-types", Json{{"implements", interface}, {"abstract", false}}};
}

void read_schema(QemuCaps& caps, Json reply) {
  const Schema schema(std::move(reply));
  caps.commands = schema.commands();
  caps.events = schema.events();
  caps.object_types = schema.enum_values("object-add", {"qom-type"});
  caps.aio_modes = schema.enum_values("blockdev-add", {"+file", "aio"});
  caps.blockdev_drivers = schema.enum_values("blockdev-add", {"driver"});
  caps.netdev_backends = schema.enum_values("netdev_add", {"type"});
  // A union of its own form: backend is {"type": …, "data": …}.
  caps.chardev_backends = schema.enum_values("chardev-add", {"backend", "type"});
  caps.object_add_props = schema.command_arg_has_member("object-add", "props");
  // -object got JSON together with the enum of its types (6.0), -device its flag (6.2); -netdev's
  // JSON came in one series with the stream backend (7.2).
  caps.json_cli_object = !caps.object_types.empty();
  caps.json_cli_device = schema.has_feature("device_add", "json-cli-hotplug");
  caps.chardev_reconnect_ms =
      schema.has_path("chardev-add", {"backend", "+socket", "data", "reconnect-ms"});
  caps.json_cli_netdev = caps.netdev_backends.contains("stream");
}

void read_options(QemuCaps& caps, const Json& reply) {
  for (const Json& option : reply) {
    const std::string& name = text(option, "option");
    const auto parameters = option.find("parameters");
    if (parameters == option.end() || !parameters->is_array()) continue;
    if (name == "action") caps.action_option = true;
    if (name == "sandbox") caps.sandbox_option = true;
    if (name == "run-with") caps.run_with = names_of(*parameters);
    for (const Json& each : *parameters) {
      if (name == "overcommit" && text(each, "name") == "mem-lock") {
        caps.overcommit_mem_lock =
            text(each, "type") == "boolean" ? MemLockForm::boolean : MemLockForm::on_fault;
      }
      if (name == "realtime" && text(each, "name") == "mlock") caps.realtime_mlock = true;
    }
  }
}

void read_machines(QemuCaps& caps, const Json& reply) {
  for (const Json& each : reply) {
    MachineCaps machine;
    machine.name = text(each, "name");
    machine.alias = text(each, "alias");
    const auto max_cpus = each.find("cpu-max");
    if (max_cpus != each.end() && max_cpus->is_number_unsigned()) {
      machine.max_cpus = max_cpus->get<std::uint32_t>();
    }
    machine.is_default = flag(each, "is-default");
    machine.hotpluggable_cpus = flag(each, "hotpluggable-cpus");
    machine.deprecated = flag(each, "deprecated");
    machine.default_ram_id = text(each, "default-ram-id");
    caps.machines.push_back(std::move(machine));
  }
}

void read_devices(QemuCaps& caps, const Json& reply) {
  for (const std::string& name : names_of(reply)) {
    // CPU models are devices, too: "<model>-x86_64-cpu".
    constexpr std::string_view kCpu = "-cpu";
    const std::size_t arch = name.ends_with(kCpu) ? name.rfind('-', name.size() - 5) : 0;
    if (arch != 0 && arch != std::string::npos) {
      caps.cpu_models.insert(name.substr(0, arch));
    } else {
      caps.devices.insert(name);
    }
  }
}

void read_accelerators(QemuCaps& caps, const Json& reply) {
  constexpr std::string_view kSuffix = "-accel";
  for (const std::string& name : names_of(reply)) {
    if (name.ends_with(kSuffix)) {
      caps.accelerators.insert(name.substr(0, name.size() - kSuffix.size()));
    }
  }
}

/// The reply of a command that every supported QEMU has.
Json& required(std::vector<Outcome>& outcomes, std::size_t index) {
  Outcome& outcome = outcomes.at(index);
  if (!outcome.ok()) throw *outcome.error;
  if (!outcome.value.is_array()) {
    throw Error(ErrorKind::protocol, "probing QEMU: a reply is no array");
  }
  return outcome.value;
}

}  // namespace

asio::awaitable<QemuCaps> probe(Client& client, Deadline deadline) {
  QemuCaps caps;
  if (const auto& greeting = client.greeting()) {
    caps.version = {greeting->major, greeting->minor, greeting->micro, greeting->package};
  }
  std::vector<Request> first;
  first.push_back({"query-qmp-schema", Json::object()});
  first.push_back({"query-command-line-options", Json::object()});
  first.push_back({"query-machines", Json::object()});
  first.push_back(list_types("device"));
  first.push_back(list_types("accel"));
  const std::size_t devices_at = first.size();
  for (const std::string& device : probed_devices()) {
    first.push_back({"device-list-properties", Json{{"typename", device}}});
  }
  auto first_batch = client.execute_all(std::move(first), deadline);
  std::vector<Outcome> outcomes = co_await std::move(first_batch);
  read_schema(caps, std::move(required(outcomes, 0)));
  read_options(caps, required(outcomes, 1));
  read_machines(caps, required(outcomes, 2));
  read_devices(caps, required(outcomes, 3));
  read_accelerators(caps, required(outcomes, 4));
  for (std::size_t i = 0; i < probed_devices().size(); ++i) {
    const Outcome& outcome = outcomes[devices_at + i];
    if (outcome.ok() && outcome.value.is_array()) {
      caps.device_properties[probed_devices()[i]] = names_of(outcome.value);
    }
  }

  // Machine properties need the real names behind the aliases. Only these two are asked for:
  // qom-list-properties of microvm kills QEMU 5.2 and 7.2.
  std::vector<Request> second;
  std::vector<std::string> families;
  for (const char* alias : {"q35", "pc"}) {
    const MachineCaps* machine = caps.machine(alias);
    if (machine == nullptr) continue;
    families.emplace_back(alias);
    second.push_back({"qom-list-properties", Json{{"typename", machine->name + "-machine"}}});
  }
  // Those of its device's path among them.
  const bool has_kvm = caps.accelerators.contains("kvm");
  if (has_kvm) second.push_back({"qom-list-properties", Json{{"typename", "kvm-accel"}}});
  auto second_batch = client.execute_all(std::move(second), deadline);
  const std::vector<Outcome> properties = co_await std::move(second_batch);
  for (std::size_t i = 0; i < families.size(); ++i) {
    if (properties[i].ok() && properties[i].value.is_array()) {
      caps.machine_properties[families[i]] = names_of(properties[i].value);
    }
  }
  if (has_kvm && properties.back().ok() && properties.back().value.is_array()) {
    caps.accel_properties["kvm"] = names_of(properties.back().value);
  }
  co_return caps;
}

}  // namespace qmp
