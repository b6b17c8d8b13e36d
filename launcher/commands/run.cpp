// vmrig run: a VM's supervisor in the foreground.
#include <fmt/format.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "launcher/cli/progress_line.hpp"
#include "launcher/cli/report.hpp"
#include "launcher/commands/commands.hpp"
#include "launcher/commands/environment.hpp"
#include "launcher/commands/prepare.hpp"
#include "launcher/commands/start.hpp"
#include "launcher/supervisor.hpp"

namespace vmrig {
namespace {

struct RunOptions {
  PlanSources sources;
  bool detach = false;
  bool take_over = false;
  bool json = false;
};

// What a person sees on the terminal while the VM starts, and while it is asked to end.
using Progress = std::optional<ProgressLine>;

SuperviseOptions foreground_options(const std::string& name, Progress& progress) {
  SuperviseOptions options;
  options.mode = RunMode::kForeground;
  options.on_running = [&progress](const VmState& state) {
    progress.reset();
    note(fmt::format("{} runs (QEMU {}, {}, pid {})", quote(state.name), state.qemu_version,
                     state.accel, state.qemu.pid));
  };
  options.on_restart = [](const VmState& state) {
    note(fmt::format("{}: {}", quote(state.name), state.reason));
  };
  options.on_populating = [&progress](Bytes got, Bytes wanted) {
    if (progress) tell_populating(*progress, got, wanted);
  };
  options.on_stopping = [&progress, &name] {
    if (!progress) progress.emplace("stopping " + quote(name));
  };
  options.service = take_service_settings();
  return options;
}

// The VM of that name, when its QEMU has lost its supervisor.
std::optional<Adoption> orphan_of(const Context& context, const PlanSources& sources) {
  const std::string name = read_config(sources).name;
  StateRoot root = StateRoot::open(state_folder(context));
  const StateRoot::Lock lock = root.lock();
  const std::optional<VmEntry> entry = root.find(name);
  if (!entry || entry->condition != VmCondition::kOrphaned || !entry->state) return std::nullopt;
  if (!has_run(*entry->state)) return std::nullopt;
  VmState state;
  std::optional<VmFolder> folder = root.adopt(lock, name, state);
  if (!folder) return std::nullopt;
  return Adoption{.folder = std::move(*folder), .state = std::move(state)};
}

ExitStatus run_in_foreground(const RunOptions& options, const Context& context) {
  Progress progress;
  std::string name;
  SuperviseOptions supervision = foreground_options(name, progress);
  std::optional<VmOutcome> outcome;
  std::optional<Adoption> orphan;
  if (options.take_over) orphan = orphan_of(context, options.sources);
  if (orphan) {
    name = orphan->state.name;
    note(fmt::format("taking {} over, whose supervisor was killed", quote(name)));
    outcome = supervise(std::move(*orphan), std::move(supervision));
  } else {
    LaunchRequest request = claim_vm(context, options.sources, RunMode::kForeground);
    name = request.plan.config.name;
    progress.emplace("starting " + quote(name));
    outcome = supervise(std::move(request), std::move(supervision));
  }
  progress.reset();
  note(fmt::format("{} ended: {}", quote(name), outcome->reason));
  return outcome->status();
}

}  // namespace

RunCommand define_run(CommandLine& line) {
  auto options = std::make_shared<RunOptions>();
  describe_sources(line, options->sources);
  line.flag("--detach", "As vmrig start", options->detach);
  line.flag("--take-over", "Go on with a VM of that name whose supervisor was killed",
            options->take_over);
  line.flag("--json", "Faults as JSON; with --detach what vmrig start tells, too", options->json);
  return [options](const Context& context) {
    if (!options->detach) return run_in_foreground(*options, context);
    StartOptions start;
    start.sources = options->sources;
    start.json = options->json;
    return start_in_background(start, context);
  };
}

}  // namespace vmrig
