// A VM's memory against the limits of the container that it starts in. Pure.
#pragma once

#include <vector>

#include "launcher/plan.hpp"

namespace vmrig {

// Finds what the cgroups of this process would not let the VM have (HostFacts::memory_limits).
// Hugepages that it may not have are a problem: QEMU would be killed when it maps them. So is more
// ordinary memory than there may be where it is wanted at once; else it is a warning.
void check_memory_limits(const PlanInput& input, HugepageSize hugepages,
                         std::vector<Diagnostic>& findings);

}  // namespace vmrig
