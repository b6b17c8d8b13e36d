// vmrig list: the table of VMs.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "hostcfg/read_facts.hpp"
#include "hostcfg/topology.hpp"
#include "launcher/cli/output.hpp"
#include "launcher/commands/commands.hpp"
#include "launcher/commands/environment.hpp"
#include "launcher/commands/vm_silence.hpp"
#include "launcher/commands/vm_summary.hpp"
#include "launcher/machine_map.hpp"
#include "launcher/show_machine_map.hpp"
#include "launcher/state_dir.hpp"

namespace vmrig {
namespace {

std::string or_dash(const std::string& text) { return text.empty() ? "-" : printable(text); }

// "running", "running, QEMU silent".
std::string state_text(const VmEntry& entry, Silent silent) {
  std::string text(condition_name(entry.condition));
  if (silent != Silent::kNobody) text += fmt::format(", {} silent", name_of(silent));
  return text;
}

std::vector<std::string> row(const VmEntry& entry, Silent silent) {
  const VmSummary vm = summarise(entry);
  return {printable(entry.name),
          state_text(entry, silent),
          vm.pid > 0 ? fmt::format("{}", vm.pid) : "-",
          vm.vcpus > 0 ? fmt::format("{}", vm.vcpus) : "-",
          or_dash(vm.memory),
          vm.node ? fmt::format("{}", *vm.node) : "-",
          vm.uptime ? duration_text(*vm.uptime) : "-"};
}

Json json_of(const VmEntry& entry, Silent silent) {
  const VmSummary vm = summarise(entry);
  Json out = {{"name", entry.name},
              {"state", condition_name(entry.condition)},
              {"pid", vm.pid > 0 ? Json(vm.pid) : Json(nullptr)},
              {"supervisor", vm.supervisor > 0 ? Json(vm.supervisor) : Json(nullptr)},
              {"vcpus", vm.vcpus},
              {"memory", vm.memory},
              {"node", vm.node ? Json(*vm.node) : Json(nullptr)},
              {"uptime_s", vm.uptime ? Json(vm.uptime->count()) : Json(nullptr)}};
  if (silent != Silent::kNobody) out["silent"] = name_of(silent);
  if (!vm.reason.empty()) out["reason"] = vm.reason;
  if (!entry.problem.empty()) out["problem"] = entry.problem;
  return out;
}

// Where the threads of a VM may run, and what it keeps for itself beside them.
void add_seats_of(const VmState& vm, SeatsByCpu& seats) {
  CpuSet busy;
  for (const VmThread& thread : vm.threads) {
    const std::optional<SeatRole> role = seat_role_of(thread.role);
    if (!role) continue;
    add_seats(seats, thread.cpus, {vm.name, *role, thread.id});
    busy = busy | thread.cpus;
  }
  // What waits for vCPUs that are not plugged in yet counts as idle, too.
  add_seats(seats, vm.claim.exclusive_cpus - busy, {vm.name, SeatRole::kIdle, {}});
}

ExitStatus list_cpus(bool json, const Context& context) {
  SeatsByCpu seats;
  if (const auto root = StateRoot::open_existing(state_folder(context))) {
    for (const VmEntry& entry : root->list()) {
      if (entry.living() && entry.state) add_seats_of(*entry.state, seats);
    }
  }
  FactsRequest request;
  request.devices = FactsRequest::Devices::kSkip;
  request.usb = FactsRequest::Devices::kSkip;
  const MachineMap map = map_machine(read_host_facts(request, Topology::of_this_host()), seats);
  if (json) {
    write_json(to_json(map));
  } else {
    write_out(
        show_machine_map(map, {.colour = stdout_colour(), .columns = stdout_columns(), .vm = {}}));
  }
  return ExitStatus::kDone;
}

// No VMs: only the heading, or an empty list, and status 0. That is an answer, not a fault.
ExitStatus list(bool json, const Context& context) {
  std::vector<VmEntry> entries;
  std::map<std::string, Silent> silent;
  if (const auto root = StateRoot::open_existing(state_folder(context))) {
    entries = root->list();
    silent = find_silent(*root, entries);
  }
  if (json) {
    Json all = Json::array();
    for (const VmEntry& entry : entries) all.push_back(json_of(entry, silent[entry.name]));
    write_json(all);
    return ExitStatus::kDone;
  }
  std::vector<std::vector<std::string>> rows = {
      {"NAME", "STATE", "PID", "VCPUS", "MEMORY", "NODE", "UPTIME"}};
  for (const VmEntry& entry : entries) rows.push_back(row(entry, silent[entry.name]));
  write_out(table(rows));
  return ExitStatus::kDone;
}

}  // namespace

RunCommand define_list(CommandLine& line) {
  auto json = std::make_shared<bool>(false);
  auto cpus = std::make_shared<bool>(false);
  line.flag("--json", "As a JSON array", *json);
  line.flag("--cpus", "The machine's nodes, caches and cores, with who has them", *cpus);
  return [json, cpus](const Context& context) {
    return *cpus ? list_cpus(*json, context) : list(*json, context);
  };
}

}  // namespace vmrig
