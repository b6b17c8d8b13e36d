// vmrig recover: undo what dead VMs left on the host, and remove what they left behind.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "hostcfg/host_control.hpp"
#include "launcher/cli/output.hpp"
#include "launcher/commands/commands.hpp"
#include "launcher/commands/environment.hpp"
#include "launcher/host_work.hpp"
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
  if (auto root = StateRoot::open_existing(state_folder(context))) {
    const StateRoot::Lock lock = root->lock();
    LinuxHost host;
    all = recover_dead_vms(*root, lock, host);
  }
  if (json) {
    write_json(recovered_json(all));
  } else {
    write_out(recovered_text(all));
  }
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
