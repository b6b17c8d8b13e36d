// vmrig plan: what run would do.
#include <memory>
#include <nlohmann/json.hpp>

#include "launcher/cli/output.hpp"
#include "launcher/commands/commands.hpp"
#include "launcher/commands/environment.hpp"
#include "launcher/commands/prepare.hpp"
#include "launcher/machine_map.hpp"
#include "launcher/show_plan.hpp"
#include "launcher/state_dir.hpp"

namespace vmrig {
namespace {

struct PlanOptions {
  PlanSources sources;
  bool json = false;
  bool argv = false;
};

// A plan against another host's facts has nothing to do with the VMs of this one.
std::vector<Lease> leases_of_others(const Context& context, const PlanOptions& options,
                                    const std::string& name) {
  if (options.sources.facts_path) return {};
  const std::optional<StateRoot> root = StateRoot::open_existing(state_folder(context));
  if (!root) return {};
  std::vector<Lease> leases = root->leases();
  std::erase_if(leases, [&](const Lease& lease) { return lease.vm == name; });
  return leases;
}

ExitStatus plan(const PlanOptions& options, const Context& context) {
  const VmConfig config = read_config(options.sources);
  const std::vector<Lease> others = leases_of_others(context, options, config.name);
  const PreparedPlan prepared =
      prepare_plan(options.sources, config, others,
                   options.sources.facts_path ? "/run/vmrig" : state_folder(context));
  if (options.argv) {
    prepared.plan.require_good();
    const ShellForm form = stdout_is_terminal() ? ShellForm::kForTerminal : ShellForm::kPosix;
    write_out(shell_quoted(prepared.plan.argv(), form) + "\n");
    return ExitStatus::kDone;
  }
  SeatsByCpu seats = seats_of(prepared.plan);
  for (const Lease& lease : others) add_seats(seats, lease);
  MachineMap machine = map_machine(prepared.facts, seats);
  if (options.json) {
    Json out = to_json(prepared.plan);
    out["machine"] = to_json(machine);
    write_json(out);
  } else {
    write_out(show_plan(prepared.plan, {.colour = stdout_colour(),
                                        .columns = stdout_columns(),
                                        .host_nodes = prepared.facts.nodes.size(),
                                        .machine = std::move(machine)}));
  }
  // The problems stand in the plan itself; the status is what run would end with.
  std::vector<Diagnostic> problems = prepared.plan.problems();
  return problems.empty() ? ExitStatus::kDone : DiagnosticsError(std::move(problems)).status();
}

}  // namespace

RunCommand define_plan(CommandLine& line) {
  auto options = std::make_shared<PlanOptions>();
  describe_sources(line, options->sources);
  line.flag("--json", "Everything, as JSON", options->json);
  line.flag("--argv", "Only QEMU's command line, quoted for a shell", options->argv);
  line.option("--facts", "FILE", "Plan for the host that this was recorded on (vmrig host facts)",
              options->sources.facts_path);
  line.option("--caps", "FILE", "Plan for the QEMU that this was recorded of (vmrig probe --json)",
              options->sources.caps_path);
  return [options](const Context& context) { return plan(*options, context); };
}

}  // namespace vmrig
