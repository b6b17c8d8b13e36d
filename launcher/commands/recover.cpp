// vmrig recover: undo what dead VMs left on the host, remove what they left behind, and give VMs
// whose supervisor was killed a new one.
#include <fmt/format.h>
#include <signal.h>

#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "hostcfg/host_control.hpp"
#include "launcher/cli/output.hpp"
#include "launcher/commands/commands.hpp"
#include "launcher/commands/environment.hpp"
#include "launcher/daemonize.hpp"
#include "launcher/host_work.hpp"
#include "launcher/process.hpp"
#include "launcher/state_dir.hpp"
#include "launcher/supervisor.hpp"

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

constexpr std::chrono::seconds kKillTimeout{10};

// A VM whose guest has never run: there is nothing to go on with.
void end_unborn(const VmEntry& entry) {
  const Fd qemu = open_pidfd(entry.state->qemu);
  if (!qemu || !send_signal(qemu.get(), SIGKILL)) return;
  (void)wait_for_exit(qemu.get(), qmp::deadline_in(kKillTimeout));
}

int supervise_orphan(const std::string& name, const Context& context, ReadyPipe& pipe) {
  std::optional<Adoption> adoption;
  {
    StateRoot root = StateRoot::open(state_folder(context));
    const StateRoot::Lock lock = root.lock();
    VmState state;
    if (std::optional<VmFolder> folder = root.adopt(lock, name, state)) {
      adoption.emplace(Adoption{.folder = std::move(*folder), .state = std::move(state)});
    }
  }
  if (!adoption) {  // somebody was faster, or it has ended
    pipe.ready(Json(nullptr));
    return static_cast<int>(ExitStatus::kDone);
  }
  SuperviseOptions options;
  options.mode = RunMode::kDetached;
  options.on_running = [&pipe](const VmState& state) {
    pipe.ready(Json{{"name", state.name},
                    {"supervisor", state.supervisor.pid},
                    {"pid", state.qemu.pid},
                    {"state", run_state_name(state.state)}});
  };
  return static_cast<int>(supervise(std::move(*adoption), std::move(options)).status());
}

struct Adopted {
  std::vector<Json> vms;
  std::vector<std::string> problems;
};

// Each gets a process of its own. To be called without the state folder's lock.
Adopted adopt_orphans(const std::vector<std::string>& names, const Context& context) {
  Adopted adopted;
  for (const std::string& name : names) {
    try {
      Json vm =
          run_detached([&](ReadyPipe& pipe) { return supervise_orphan(name, context, pipe); });
      if (!vm.is_null()) adopted.vms.push_back(std::move(vm));
    } catch (const Error& error) {
      adopted.problems.push_back(error.what());
    }
  }
  return adopted;
}

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

ExitStatus recover(bool json, const Context& context) {
  std::vector<RecoveredVm> all;
  std::vector<std::string> orphans;
  if (auto root = StateRoot::open_existing(state_folder(context))) {
    const StateRoot::Lock lock = root->lock();
    for (const VmEntry& entry : root->list()) {
      if (entry.condition != VmCondition::kOrphaned || !entry.state) continue;
      if (!has_run(*entry.state)) {
        end_unborn(entry);
      } else {
        orphans.push_back(entry.name);
      }
    }
    LinuxHost host;
    all = recover_dead_vms(*root, lock, host);
  }
  const Adopted adopted = adopt_orphans(orphans, context);
  if (json) {
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
  auto json = std::make_shared<bool>(false);
  line.flag("--json", "As JSON", *json);
  return [json](const Context& context) { return recover(*json, context); };
}

}  // namespace vmrig
