#include "launcher/commands/complete.hpp"

#include <fmt/format.h>

#include <chrono>
#include <exception>
#include <nlohmann/json.hpp>
#include <optional>

#include "launcher/cli/completion.hpp"
#include "launcher/cli/config_keys.hpp"
#include "launcher/cli/output.hpp"
#include "launcher/commands/environment.hpp"
#include "launcher/commands/host_devices.hpp"
#include "launcher/commands/settings.hpp"
#include "launcher/commands/vm_connection.hpp"
#include "launcher/commands/vm_summary.hpp"
#include "launcher/config/load_config.hpp"
#include "launcher/hotplug/attach_plan.hpp"
#include "launcher/metrics/vm_activity.hpp"
#include "qmp/schema.hpp"

namespace vmrig {
namespace {

// Nobody waits for longer with a finger on the tabulator.
constexpr std::chrono::milliseconds kPatience{1000};

Context context_of(const TypedWords& typed, const Context& given) {
  return typed.state_dir.empty() ? given : Context{.state_dir = typed.state_dir};
}

std::vector<Candidate> vm_names(const Context& context) {
  std::vector<Candidate> all;
  const std::optional<StateRoot> root = StateRoot::open_existing(state_folder(context));
  if (!root) return all;
  for (const VmEntry& entry : root->list()) {
    const VmSummary vm = summarise(entry);
    std::string doc(condition_name(entry.condition));
    if (vm.vcpus > 0) doc += fmt::format(", {} vCPUs, {}", vm.vcpus, vm.memory);
    all.push_back({entry.name, std::move(doc)});
  }
  return all;
}

// The VM is the command's first word in each that asks for more of it.
std::optional<VmState> state_of(const TypedWords& typed, const Context& context) {
  if (typed.positionals.empty()) return std::nullopt;
  const VmEntry entry = find_vm(open_root_for(context, typed.positionals[0]), typed.positionals[0]);
  return entry.state;
}

void add_devices(const VmState& state, DeviceKind kind, std::vector<Candidate>& all) {
  const Json::json_pointer list(kind_list(kind));
  if (!state.config.contains(list) || !state.config.at(list).is_array()) return;
  for (const Json& device : state.config.at(list)) {
    const std::string id = device.is_object() ? device.value("id", std::string()) : std::string();
    if (!id.empty()) all.push_back({id, std::string(kind_name(kind))});
  }
}

std::vector<Candidate> nic_ids(const TypedWords& typed, const Context& context) {
  std::vector<Candidate> all;
  if (const auto state = state_of(typed, context)) add_devices(*state, DeviceKind::kNic, all);
  return all;
}

// What detach can take: the kinds that attach knows, and what QMP clients have added.
std::vector<Candidate> device_ids(const TypedWords& typed, const Context& context) {
  std::vector<Candidate> all;
  const auto state = state_of(typed, context);
  if (!state) return all;
  for (const std::string_view kind : kind_names()) {
    add_devices(*state, kind_from_name(kind), all);
  }
  for (const std::string& id : state->foreign_devices) all.push_back({id, "added by QMP"});
  return all;
}

std::vector<Candidate> settings(const TypedWords& typed, const Context& context,
                                std::string_view begun) {
  std::vector<Candidate> all;
  if (!begun.starts_with(kLinkPrefix)) {
    for (const SettingWord& word : kSettingWords) {
      all.push_back({std::string(word.begin), std::string(word.doc)});
    }
    return all;
  }
  const std::size_t equals = begun.find('=');
  if (equals != std::string_view::npos) {
    const std::string before(begun.substr(0, equals + 1));
    return {{before + "up", {}}, {before + "down", {}}};
  }
  for (const Candidate& nic : nic_ids(typed, context)) {
    all.push_back({std::string(kLinkPrefix) + nic.word + "=", "up or down"});
  }
  return all;
}

qmp::Schema schema_of(const TypedWords& typed, const Context& context) {
  VmConnection vm = VmConnection::open(context, typed.positionals.at(0));
  return qmp::Schema(vm.execute("query-qmp-schema", Json::object(), qmp::deadline_in(kPatience)));
}

std::vector<Candidate> qmp_commands(const TypedWords& typed, const Context& context) {
  VmConnection vm = VmConnection::open(context, typed.positionals.at(0));
  std::vector<Candidate> all;
  for (const Json& command :
       vm.execute("query-commands", Json::object(), qmp::deadline_in(kPatience))) {
    all.push_back({command.at("name").get<std::string>(), {}});
  }
  return all;
}

// The last of a list with commas.
std::vector<Candidate> qmp_events(const TypedWords& typed, const Context& context,
                                  std::string_view begun) {
  const std::size_t comma = begun.rfind(',');
  const std::string before(comma == std::string_view::npos ? "" : begun.substr(0, comma + 1));
  std::vector<Candidate> all;
  for (const std::string& event : schema_of(typed, context).events()) {
    all.push_back({before + event, {}});
  }
  return all;
}

std::vector<Candidate> pci_devices() {
  const HostFacts facts = read_device_facts();
  const DeviceNames names(facts.pci);
  std::vector<Candidate> all;
  for (const PciDeviceFacts& device : facts.pci) {
    if (!is_bridge(device)) all.push_back({device.address.to_string(), names.of(device)});
  }
  return all;
}

std::vector<Candidate> pfs() {
  const HostFacts facts = read_device_facts();
  std::vector<Candidate> all;
  for (const PciDeviceFacts& device : facts.pci) {
    if (device.total_vfs == 0) continue;
    all.push_back({name_of_pf(facts, device.address),
                   fmt::format("{} of {} VFs", device.num_vfs, device.total_vfs)});
  }
  return all;
}

std::vector<Candidate> find_words(WordKind kind, const TypedWords& typed, std::string_view begun,
                                  const Context& given) {
  const Context context = context_of(typed, given);
  switch (kind) {
    case WordKind::kVm:
      return vm_names(context);
    case WordKind::kDeviceId:
      return device_ids(typed, context);
    case WordKind::kNicId:
      return nic_ids(typed, context);
    case WordKind::kDeviceKind: {
      std::vector<Candidate> all;
      for (const std::string_view name : kind_names()) all.push_back({std::string(name), {}});
      return all;
    }
    case WordKind::kSetting:
      return settings(typed, context, begun);
    case WordKind::kConfigKey:
      return config_keys(config_schema(), begun);
    case WordKind::kQmpCommand:
      return qmp_commands(typed, context);
    case WordKind::kQmpEvents:
      return qmp_events(typed, context, begun);
    case WordKind::kPciDevice:
      return pci_devices();
    case WordKind::kPf:
      return pfs();
    case WordKind::kOrder: {
      std::vector<Candidate> all;
      for (const std::string_view order : kActivityOrders) all.push_back({std::string(order), {}});
      return all;
    }
    default:
      return {};
  }
}

}  // namespace

ExitStatus complete(const std::vector<std::string>& words, const std::vector<Command>& commands,
                    const Context& context) {
  const FindWords find = [&context](WordKind kind, const TypedWords& typed,
                                    std::string_view begun) -> std::vector<Candidate> {
    try {
      return find_words(kind, typed, begun, context);
    } catch (const std::exception&) {
      return {};
    }
  };
  write_out(to_text(complete_words(words, commands, find)));
  return ExitStatus::kDone;
}

}  // namespace vmrig
