// What is done to the host for a VM's hugepages. Pure.
#pragma once

#include <vector>

#include "launcher/host_step.hpp"
#include "launcher/memory_plan.hpp"
#include "launcher/plan.hpp"

namespace vmrig {

// Checks that the pages are there, or can be reserved; adds what the VM will take of the pools to
// `claims`.
std::vector<HostStep> plan_memory_steps(const PlanInput& input,
                                        const std::vector<MemoryPart>& parts, const QemuUser& user,
                                        std::vector<PageClaim>& claims,
                                        std::vector<Diagnostic>& findings);

}  // namespace vmrig
