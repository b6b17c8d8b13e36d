// What a VM's limits ask of the host's cgroups. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launcher/plan.hpp"

namespace vmrig {

struct LimitsPlan {
  std::vector<HostStep> steps;
  std::string group;  // the folder of the VM's own; empty: it stays where vmrig is
};

// The finding paths are of the config. `hugepages` is what the plan has chosen.
LimitsPlan plan_limits(const PlanInput& input, HugepageSize hugepages,
                       std::vector<Diagnostic>& findings);

// The limits on devices, for disks that come later; `group` is the VM's, empty when it has none.
std::vector<HostStep> plan_device_limits(const PlanInput& input, const std::string& group,
                                         std::vector<Diagnostic>& findings);

// Whether all memory of `config`, memory devices too, fits below its "memory_max".
void check_memory_limit(const VmConfig& config, HugepageSize hugepages, const std::string& path,
                        std::vector<Diagnostic>& findings);

}  // namespace vmrig
