// vmrig host check: is this host fit for a VM?
#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hostcfg/host_check.hpp"
#include "hostcfg/read_facts.hpp"
#include "hostcfg/read_settings.hpp"
#include "hostcfg/topology.hpp"
#include "launcher/cli/output.hpp"
#include "launcher/commands/commands.hpp"
#include "launcher/commands/environment.hpp"
#include "launcher/commands/host_devices.hpp"
#include "launcher/commands/prepare.hpp"
#include "launcher/host_wishes.hpp"
#include "launcher/show_host_check.hpp"

namespace vmrig {
namespace {

struct CheckOptions {
  std::optional<std::string> config_path;
  std::vector<std::string> settings;  // of --set
  bool json = false;
};

// What the plan of the config finds, and what the config wants by it. A QEMU that is not there is
// one more finding: the host's rows don't depend on it.
HostWishes plan_for(const PlanSources& sources, const Context& context, HostReport& report) {
  const VmConfig config = read_config(sources);
  report.vm = config.name;
  std::vector<Lease> leases = leases_of_all(context);
  std::erase_if(leases, [&](const Lease& lease) { return lease.vm == config.name; });
  try {
    const PreparedPlan prepared =
        prepare_plan(sources, config, std::move(leases), state_folder(context));
    for (const Diagnostic& finding : prepared.plan.preflight) {
      report.plan.push_back(row_of(finding));
    }
    return wishes_of(config, &prepared.plan);
  } catch (const Error& error) {
    report.plan.push_back({.name = "qemu",
                           .severity = Severity::kProblem,
                           .found = error.what(),
                           .mend = error.parts().mend,
                           .keep = {}});
    return wishes_of(config, nullptr);
  }
}

ExitStatus check(const CheckOptions& options, const Context& context) {
  HostReport report;
  HostWishes wishes;
  if (options.config_path) {
    const PlanSources sources{.config_path = *options.config_path,
                              .settings = options.settings,
                              .facts_path = {},
                              .caps_path = {}};
    wishes = plan_for(sources, context, report);
  } else if (!options.settings.empty()) {
    throw Error({.status = ExitStatus::kUsage,
                 .operation = "check the host",
                 .object = {},
                 .cause = "--set needs a CONFIG to lay the value over",
                 .mend = "vmrig host check CONFIG --set PATH=VALUE"});
  }
  FactsRequest request;
  request.usb = FactsRequest::Devices::kSkip;
  const HostFacts facts = read_host_facts(request, Topology::of_this_host());
  report.host = check_host(facts, read_host_settings(request.root, facts), wishes);
  if (options.json) {
    write_json(to_json(report));
  } else {
    write_out(show_host_check(report, stdout_colour(), stdout_columns()));
  }
  return report.has_problems() ? ExitStatus::kHost : ExitStatus::kDone;
}

}  // namespace

RunCommand define_host_check(CommandLine& line) {
  auto options = std::make_shared<CheckOptions>();
  line.positional("CONFIG", "A VM's JSON file that the host is judged by; - is standard input",
                  options->config_path);
  line.repeated("--set", "PATH=VALUE", "Lay a value over the file's: --set cpu.vcpus=4",
                options->settings);
  line.flag("--json", "As JSON", options->json);
  return [options](const Context& context) { return check(*options, context); };
}

}  // namespace vmrig
