// vmrig recover: undo what dead VMs left on the host, remove what they left behind, and give VMs
// whose supervisor was killed a new one.
#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "hostcfg/host_control.hpp"
#include "launcher/cli/output.hpp"
#include "launcher/cli/progress_line.hpp"
#include "launcher/commands/commands.hpp"
#include "launcher/commands/environment.hpp"
#include "launcher/commands/vm_connection.hpp"
#include "launcher/host_work.hpp"
#include "launcher/orphans.hpp"
#include "launcher/state_dir.hpp"

namespace vmrig {
namespace {

bool is_whole(const RecoveredVm& vm) { return vm.problems.empty() && vm.report.complete(); }

std::string_view result_name(UndoLine::Result result) {
  switch (result) {
    case UndoLine::Result::kPutBack:
      return "put back";
    case UndoLine::Result::kAsBefore:
      return "as before";
    case UndoLine::Result::kLeft:
      return "left";
    case UndoLine::Result::kFailed:
      return "failed";
  }
  return "";
}

// A QEMU with a large memory takes its time to give it back.
constexpr std::chrono::seconds kEndTimeout{30};

Json recovered_json(const std::vector<RecoveredVm>& all) {
  Json removed = Json::array();
  Json vms = Json::array();
  for (const RecoveredVm& vm : all) {
    if (vm.removed) removed.push_back(vm.name);
    Json host = Json::array();
    for (const UndoLine& line : vm.report.lines) {
      host.push_back({{"action", to_json(line.action)},
                      {"result", result_name(line.result)},
                      {"text", line.text}});
    }
    std::vector<std::string> problems = vm.report.problems;
    problems.insert(problems.end(), vm.problems.begin(), vm.problems.end());
    vms.push_back({{"name", vm.name},
                   {"removed", vm.removed},
                   {"host", std::move(host)},
                   {"problems", std::move(problems)}});
  }
  return {{"removed", std::move(removed)}, {"vms", std::move(vms)}};
}

std::string recovered_text(const std::vector<RecoveredVm>& all) {
  std::string text;
  for (const RecoveredVm& vm : all) {
    const auto add = [&](const std::string& line) {
      text += fmt::format("{}: {}\n", quote(vm.name), printable(line));
    };
    for (const std::string& line : report_lines(vm.report)) add(line);
    for (const std::string& problem : vm.problems) add(problem);
    if (vm.removed) text += fmt::format("removed what was left of {}\n", quote(vm.name));
  }
  return text;
}

struct Recovered {
  std::vector<RecoveredVm> vms;
  Adopted adopted;
};

struct RecoverOptions {
  std::optional<std::string> name;  // none: all VMs
  bool json = false;
};

std::vector<VmEntry> wanted_vms(const StateRoot& root, const RecoverOptions& options) {
  if (!options.name) return root.list();
  return {find_vm(root, *options.name)};
}

bool wait_for_dying(const std::vector<VmEntry>& vms) {
  const ProgressLine progress("waiting for supervisors that end", kEndTimeout);
  return await_dying_supervisors(vms, qmp::deadline_in(kEndTimeout));
}

// Without those that have gone for good meanwhile.
void look_again(const StateRoot& root, std::vector<VmEntry>& vms) {
  std::vector<VmEntry> now;
  for (const VmEntry& vm : vms) {
    if (std::optional<VmEntry> entry = root.find(vm.name)) now.push_back(std::move(*entry));
  }
  vms = std::move(now);
}

void undo_dead(StateRoot& root, const RecoverOptions& options,
               std::vector<RecoveredVm>& recovered) {
  const ProgressLine progress("putting the host back");
  const StateRoot::Lock lock = root.lock();
  LinuxHost host;
  for (RecoveredVm& vm : recover_dead_vms(root, lock, host, options.name)) {
    recovered.push_back(std::move(vm));
  }
}

Recovered recover_wanted(const std::string& folder, const RecoverOptions& options) {
  Recovered all;
  std::optional<StateRoot> root = StateRoot::open_own(folder);
  if (!root) return all;
  std::vector<VmEntry> wanted = wanted_vms(*root, options);
  if (!wait_for_dying(wanted)) {
    all.adopted.problems.emplace_back(
        "a supervisor was killed, and the kernel does not end it: dmesg");
  }
  look_again(*root, wanted);
  // Without the lock: what ends keeps no start waiting.
  const bool have_ended = [&wanted] {
    const ProgressLine progress("waiting for QEMUs that end", kEndTimeout);
    return end_doomed(wanted, qmp::deadline_in(kEndTimeout));
  }();
  if (!have_ended) {
    all.adopted.problems.emplace_back("a QEMU was killed, and the kernel does not end it: dmesg");
  }
  undo_dead(*root, options, all.vms);
  std::vector<std::string> orphans;
  for (const VmEntry& entry : wanted) {
    if (is_orphan(entry)) orphans.push_back(entry.name);
  }
  Adopted adopted = adopt_orphans(folder, orphans);
  if (adopted.have_some_ended) undo_dead(*root, options, all.vms);
  all.adopted.vms = std::move(adopted.vms);
  for (std::string& problem : adopted.problems) {
    all.adopted.problems.push_back(std::move(problem));
  }
  return all;
}

ExitStatus recover(const RecoverOptions& options, const Context& context) {
  const auto [all, adopted] = recover_wanted(state_folder(context), options);
  if (options.json) {
    Json out = recovered_json(all);
    out["adopted"] = adopted.vms;
    out["problems"] = adopted.problems;
    write_json(out);
  } else {
    write_out(recovered_text(all));
    for (const Json& vm : adopted.vms) {
      write_out(fmt::format("{} has a supervisor again (pid {}); it is {}, QEMU's pid {}\n",
                            quote(vm.at("name").get<std::string>()), vm.at("supervisor").get<int>(),
                            vm.at("state").get<std::string>(), vm.at("pid").get<int>()));
    }
  }
  for (const std::string& problem : adopted.problems) note(problem);
  if (!adopted.problems.empty()) return ExitStatus::kFailed;
  for (const RecoveredVm& vm : all) {
    if (!is_whole(vm)) return ExitStatus::kFailed;
  }
  return ExitStatus::kDone;
}

}  // namespace

RunCommand define_recover(CommandLine& line) {
  auto options = std::make_shared<RecoverOptions>();
  line.positional("NAME", "This VM alone, and not all of them", options->name);
  line.flag("--json", "As JSON", options->json);
  return [options](const Context& context) { return recover(*options, context); };
}

}  // namespace vmrig
