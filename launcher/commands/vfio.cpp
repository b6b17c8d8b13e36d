// vmrig vfio list, bind, release: PCI devices, and giving them to vfio-pci by hand.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "hostcfg/host_control.hpp"
#include "hostcfg/host_lease.hpp"
#include "hostcfg/iommu_group.hpp"
#include "launcher/cli/output.hpp"
#include "launcher/commands/commands.hpp"
#include "launcher/commands/environment.hpp"
#include "launcher/commands/host_devices.hpp"
#include "launcher/host_work.hpp"
#include "launcher/passthrough.hpp"

namespace vmrig {
namespace {

constexpr const char* kVfioPci = "vfio-pci";
// In the state folder; no VM's name begins with a dot.
constexpr const char* kByHandJournal = ".by-hand.journal";

// "yes", or why not in a few words; the full diagnosis is in the JSON form and in the refusals.
std::string short_verdict(const PciDeviceFacts& device, const GroupVerdict& verdict,
                          const Lease* holder) {
  if (holder != nullptr) return fmt::format("held by {}", printable(holder->vm));
  if (!verdict.viable && verdict.group < 0) return "no IOMMU group";
  if (!verdict.viable && !verdict.blocking().empty()) {
    std::vector<std::string> blockers;
    for (const PciAddress& address : verdict.blocking()) blockers.push_back(address.to_string());
    return fmt::format("no: {}", fmt::join(blockers, ", "));
  }
  if (!verdict.viable) return "no";
  if (!device.in_use.empty()) return fmt::format("in use: {}", printable(device.in_use.front()));
  if (device.reset_methods.empty()) return "no reset";
  return "yes";
}

Json list_json(const HostFacts& facts, const DeviceNames& names, const std::vector<Lease>& leases) {
  Json out = Json::array();
  for (const PciDeviceFacts& device : facts.pci) {
    const GroupVerdict verdict = judge_group(facts, device.address);
    const Lease* holder = holder_of(device.address, leases);
    Json members = Json::array();
    for (const GroupMember& member : verdict.members) {
      members.push_back({{"address", member.address.to_string()},
                         {"role", role_name(member.role)},
                         {"driver", member.driver}});
    }
    out.push_back(
        {{"address", device.address.to_string()},
         {"id", fmt::format("{:04x}:{:04x}", device.vendor, device.device)},
         {"name", names.name(device)},
         {"class", fmt::format("{:06x}", device.class_code)},
         {"driver", device.driver},
         {"driver_override", device.driver_override},
         {"node", device.numa_node},
         {"group", device.iommu_group},
         {"group_members", std::move(members)},
         {"viable", verdict.viable},
         {"diagnosis", verdict.diagnosis},
         {"mend", verdict.mend},
         {"in_use", device.in_use},
         {"reset_methods", device.reset_methods},
         {"net_devices", device.net_devices},
         {"pf", device.physical_function ? Json(device.physical_function->to_string()) : Json()},
         {"vf_index", device.physical_function ? Json(device.vf_index) : Json()},
         {"vm", holder == nullptr ? Json() : Json(holder->vm)}});
  }
  return out;
}

std::string list_text(const HostFacts& facts, const DeviceNames& names,
                      const std::vector<Lease>& leases) {
  std::vector<std::vector<std::string>> rows = {
      {"DEVICE", "DRIVER", "NODE", "GROUP", "VF OF", "CAN BE TAKEN", "NAME"}};
  for (const PciDeviceFacts& device : facts.pci) {
    if (is_bridge(device)) continue;
    const GroupVerdict verdict = judge_group(facts, device.address);
    std::string vf_of = "-";
    if (device.physical_function) {
      vf_of = fmt::format("{} {}", name_of_pf(facts, *device.physical_function), device.vf_index);
    }
    rows.push_back({device.address.to_string(), device.driver.empty() ? "-" : device.driver,
                    device.numa_node < 0 ? "-" : fmt::format("{}", device.numa_node),
                    device.iommu_group < 0 ? "-" : fmt::format("{}", device.iommu_group),
                    printable(vf_of),
                    short_verdict(device, verdict, holder_of(device.address, leases)),
                    printable(names.of(device))});
  }
  return table(rows);
}

ExitStatus list(bool json, const Context& context) {
  const HostFacts facts = read_device_facts();
  const DeviceNames names(facts.pci);
  const std::vector<Lease> leases = leases_of_all(context);
  if (json) {
    write_json(list_json(facts, names, leases));
  } else {
    write_out(list_text(facts, names, leases));
  }
  return ExitStatus::kDone;
}

struct BindOptions {
  std::vector<std::string> devices;
  bool whole_group = false;
  bool force = false;
};

void refuse(const std::string& operation, const PciDeviceFacts& device, ExitStatus status,
            std::string cause, std::string mend) {
  throw Error({.status = status,
               .operation = operation,
               .object = device.address.to_string(),
               .cause = std::move(cause),
               .mend = std::move(mend)});
}

void require_root(const std::string& operation) {
  if (::geteuid() == 0) return;
  throw Error({.status = ExitStatus::kHost,
               .operation = operation,
               .object = {},
               .cause = "only root can give devices to drivers",
               .mend = "sudo vmrig …"});
}

void require_free(const std::string& operation, const PciDeviceFacts& device,
                  const std::vector<Lease>& leases) {
  const Lease* holder = holder_of(device.address, leases);
  if (holder == nullptr) return;
  refuse(operation, device, ExitStatus::kBusy, fmt::format("VM \"{}\" holds it", holder->vm),
         fmt::format("vmrig stop {}", holder->vm));
}

void require_unused(const PciDeviceFacts& device, bool force) {
  if (device.in_use.empty() || force) return;
  refuse("bind", device, ExitStatus::kHost,
         fmt::format("the host uses it: {}", fmt::join(device.in_use, ", ")),
         "free it first, or --force");
}

// Everything is judged before anything is touched.
std::set<PciAddress> judge_all(const BindOptions& options, const HostFacts& facts,
                               const std::vector<Lease>& leases) {
  std::set<PciAddress> wanted;
  for (const std::string& text : options.devices) wanted.insert(find_device(facts, text).address);
  std::set<PciAddress> all = wanted;
  for (const PciAddress& address : wanted) {
    const GroupVerdict verdict = judge_group(facts, address, all);
    const std::vector<PciAddress> blocking = verdict.blocking();
    if (!verdict.viable && (!options.whole_group || blocking.empty())) {
      refuse("bind", *facts.find_pci(address), ExitStatus::kHost, verdict.diagnosis, verdict.mend);
    }
    all.insert(blocking.begin(), blocking.end());
  }
  for (const PciAddress& address : all) {
    require_free("bind", *facts.find_pci(address), leases);
    require_unused(*facts.find_pci(address), options.force);
  }
  return all;
}

ExitStatus bind(const BindOptions& options, const Context& context) {
  require_root("bind devices");
  StateRoot root = StateRoot::open(state_folder(context));
  const StateRoot::Lock lock = root.lock();  // no start chooses them meanwhile
  const HostFacts facts = read_device_facts();
  const std::set<PciAddress> devices = judge_all(options, facts, root.leases());
  LinuxHost host;
  HostLease lease(host, root.path() + "/" + kByHandJournal, this_owner());
  std::string text;
  if (!facts.vfio.driver_present) lease.apply(LoadModule{kVfioPci});
  for (const PciAddress& address : devices) {
    const PciDeviceFacts& device = *facts.find_pci(address);
    if (is_vfio_driver(device.driver)) {
      text += fmt::format("{} is on {} already\n", address.to_string(), device.driver);
      continue;
    }
    const BindDriver action{address, kVfioPci};
    lease.apply(action);
    text += describe_action(action, facts) + "\n";
  }
  write_out(text);
  return ExitStatus::kDone;
}

ExitStatus release(const std::vector<std::string>& names, const Context& context) {
  require_root("release devices");
  StateRoot root = StateRoot::open(state_folder(context));
  const StateRoot::Lock lock = root.lock();
  const HostFacts facts = read_device_facts();
  const std::vector<Lease> leases = root.leases();
  std::set<PciAddress> wanted;
  for (const std::string& name : names) {
    const PciDeviceFacts& device = find_device(facts, name);
    require_free("release", device, leases);
    wanted.insert(device.address);
  }
  LinuxHost host;
  HostLease lease(host, root.path() + "/" + kByHandJournal, this_owner());
  std::set<PciAddress> bound;
  for (const HostAction& action : lease.held()) {
    if (const auto* bind_action = std::get_if<BindDriver>(&action)) {
      bound.insert(bind_action->device);
    }
  }
  for (const PciAddress& address : wanted) {
    if (bound.count(address) != 0) continue;
    refuse("release", *facts.find_pci(address), ExitStatus::kFailed,
           "it was not bound by vmrig vfio bind",
           fmt::format("echo > /sys/bus/pci/devices/{0}/driver_override && echo {0} > "
                       "/sys/bus/pci/devices/{0}/driver/unbind && echo {0} > "
                       "/sys/bus/pci/drivers_probe",
                       address.to_string()));
  }
  UndoRules rules;
  rules.only = [&wanted](const HostAction& action) {
    const auto* bind_action = std::get_if<BindDriver>(&action);
    return bind_action != nullptr && wanted.count(bind_action->device) != 0;
  };
  const UndoReport report = lease.undo(rules);
  std::string text;
  for (const std::string& line : report_lines(report)) text += printable(line) + "\n";
  write_out(text);
  return report.complete() ? ExitStatus::kDone : ExitStatus::kFailed;
}

}  // namespace

RunCommand define_vfio_list(CommandLine& line) {
  auto json = std::make_shared<bool>(false);
  line.flag("--json", "Everything, as JSON", *json);
  return [json](const Context& context) { return list(*json, context); };
}

RunCommand define_vfio_bind(CommandLine& line) {
  auto options = std::make_shared<BindOptions>();
  line.positionals("BDF", "PCI addresses", options->devices);
  line.flag("--whole-group", "The rest of their IOMMU groups, too", options->whole_group);
  line.flag("--force", "Although the host uses them", options->force);
  return [options](const Context& context) { return bind(*options, context); };
}

RunCommand define_vfio_release(CommandLine& line) {
  auto devices = std::make_shared<std::vector<std::string>>();
  line.positionals("BDF", "PCI addresses", *devices);
  return [devices](const Context& context) { return release(*devices, context); };
}

}  // namespace vmrig
