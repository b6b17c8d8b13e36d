// From the words of plan, run and start to a plan.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "hostcfg/topology.hpp"
#include "launcher/cli/command_line.hpp"
#include "launcher/config/vm_config.hpp"
#include "launcher/initial_state.hpp"
#include "launcher/plan.hpp"
#include "launcher/session.hpp"

namespace vmrig {

struct PlanSources {
  std::string config_path;            // "-" is standard input
  std::vector<std::string> settings;  // of --set
  // Recorded instead of this machine's own; only `plan` has them.
  std::optional<std::string> facts_path;
  std::optional<std::string> caps_path;
};

// CONFIG and --set, which plan, run and start share.
void describe_sources(CommandLine& line, PlanSources& sources);

// Reads the file and loads it. Throws Error (kUsage) when it can't be read, DiagnosticsError for
// its faults.
VmConfig read_config(const PlanSources& sources);

struct PreparedPlan {
  Plan plan;
  std::optional<Topology> topology;  // of this host; none with recorded facts
  HostFacts facts;                   // that it was planned on
};

// Reads facts and QEMU's abilities, and plans. `leases` are other VMs'. The plan may have
// problems. Throws Error.
PreparedPlan prepare_plan(const PlanSources& sources, const VmConfig& config,
                          std::vector<Lease> leases, const std::string& state_folder);

// Plans and claims under the state folder's lock: concurrent starts plan one after another on
// true facts. Removes what dead VMs left before. Throws Error, DiagnosticsError; nothing is
// claimed then.
LaunchRequest claim_vm(const Context& context, const PlanSources& sources, RunMode mode);

}  // namespace vmrig
