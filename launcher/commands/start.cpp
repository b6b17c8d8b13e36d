// vmrig start: run in the background.
#include "launcher/commands/start.hpp"

#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "launcher/cli/output.hpp"
#include "launcher/cli/progress_line.hpp"
#include "launcher/commands/commands.hpp"
#include "launcher/commands/environment.hpp"
#include "launcher/commands/seconds.hpp"
#include "launcher/daemonize.hpp"
#include "launcher/supervisor.hpp"

namespace vmrig {
namespace {

constexpr double kDefaultWaitS = 120;
constexpr const char* kAgentWord = "agent";

void refuse_what_cannot_be(const StartOptions& options) {
  if (options.wait && options.paused) {
    throw Error({.status = ExitStatus::kUsage,
                 .operation = "start",
                 .object = "--paused",
                 .cause = "a paused guest does nothing to wait for",
                 .mend = "leave --wait or --paused out"});
  }
}

std::string start_text(const std::string& name, const StartOptions& options) {
  if (!options.wait) return fmt::format("starting {}", quote(name));
  if (*options.wait == kAgentWord) {
    return fmt::format("starting {}, until its agent answers", quote(name));
  }
  return fmt::format("starting {}, until it prints {}", quote(name), quote(*options.wait));
}

int supervise_in_background(const StartOptions& options, const Context& context,
                            const ServiceSettings& service, ReadyPipe& pipe) {
  SuperviseOptions supervise_options;
  supervise_options.service = service;
  supervise_options.mode = RunMode::kDetached;
  if (options.paused) supervise_options.first = LaunchOptions::First::kStayPaused;
  LaunchRequest request = claim_vm(context, options.sources, RunMode::kDetached);
  std::optional<std::chrono::milliseconds> limit;
  if (options.wait) {
    limit = to_milliseconds(options.timeout_s.value_or(kDefaultWaitS));
    if (*options.wait == kAgentWord) {
      supervise_options.wait_for_agent = true;
    } else {
      supervise_options.wait_for_text = *options.wait;
    }
    supervise_options.wait_deadline = qmp::deadline_in(*limit);
  }
  // Until it is ready, it has the command's terminal.
  ProgressLine progress(start_text(request.plan.config.name, options), limit);
  supervise_options.on_populating = [&progress](Bytes got, Bytes wanted) {
    tell_populating(progress, got, wanted);
  };
  supervise_options.on_running = [&pipe, &progress](const VmState& state) {
    progress.end();
    pipe.ready(to_json(state));
  };
  return static_cast<int>(supervise(std::move(request), std::move(supervise_options)).status());
}

}  // namespace

ExitStatus start_in_background(const StartOptions& options, const Context& context) {
  refuse_what_cannot_be(options);
  const ServiceSettings service = take_service_settings();
  const Json report = run_detached(
      [&](ReadyPipe& pipe) { return supervise_in_background(options, context, service, pipe); });
  const VmState state = vm_state_from_json(report);
  if (options.json) {
    write_json({{"name", state.name},
                {"state", run_state_name(state.state)},
                {"pid", state.qemu.pid},
                {"supervisor", state.supervisor.pid},
                {"qemu_version", state.qemu_version},
                {"accel", state.accel}});
    return ExitStatus::kDone;
  }
  write_out(fmt::format("started {} (QEMU {}, {}, pid {})\n", quote(state.name), state.qemu_version,
                        state.accel, state.qemu.pid));
  return ExitStatus::kDone;
}

RunCommand define_start(CommandLine& line) {
  auto options = std::make_shared<StartOptions>();
  describe_sources(line, options->sources);
  line.flag("--paused", "Pinned and ready, but stopped until vmrig resume", options->paused);
  line.option("--wait", "TEXT|agent",
              "Return when the guest has printed this on its console, or its agent answers",
              options->wait);
  line.seconds("--timeout", "Longest wait for that; the VM is ended then (120)",
               options->timeout_s);
  line.flag("--json", "As JSON", options->json);
  return [options](const Context& context) { return start_in_background(*options, context); };
}

}  // namespace vmrig
