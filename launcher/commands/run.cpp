// vmrig run: a VM's supervisor in the foreground.
#include <fmt/format.h>

#include <memory>

#include "launcher/cli/progress_line.hpp"
#include "launcher/cli/report.hpp"
#include "launcher/commands/commands.hpp"
#include "launcher/commands/prepare.hpp"
#include "launcher/commands/start.hpp"
#include "launcher/supervisor.hpp"

namespace vmrig {
namespace {

ExitStatus run_in_foreground(const PlanSources& sources, const Context& context) {
  SuperviseOptions options;
  options.mode = RunMode::kForeground;
  options.on_running = [](const VmState& state) {
    note(fmt::format("{} runs (QEMU {}, {}, pid {})", quote(state.name), state.qemu_version,
                     state.accel, state.qemu.pid));
  };
  ProgressLine progress;
  options.on_populating = [&progress](Bytes got, Bytes wanted) {
    show_populating(progress, got, wanted);
  };
  LaunchRequest request = claim_vm(context, sources, RunMode::kForeground);
  const std::string name = request.plan.config.name;
  const VmOutcome outcome = supervise(std::move(request), std::move(options));
  note(fmt::format("{} ended: {}", quote(name), outcome.reason));
  return outcome.status();
}

struct RunOptions {
  PlanSources sources;
  bool detach = false;
};

}  // namespace

RunCommand define_run(CommandLine& line) {
  auto options = std::make_shared<RunOptions>();
  describe_sources(line, options->sources);
  line.flag("--detach", "As vmrig start", options->detach);
  return [options](const Context& context) {
    if (!options->detach) return run_in_foreground(options->sources, context);
    StartOptions start;
    start.sources = options->sources;
    return start_in_background(start, context);
  };
}

}  // namespace vmrig
