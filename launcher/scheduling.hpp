// What real-time threads ask of the host. Pure.
#pragma once

#include <vector>

#include "launcher/plan.hpp"

namespace vmrig {

// Whether the config wants any.
bool wants_realtime(const VmConfig& config);

// The findings about "cpu.scheduler" and "iothreads[].scheduler"; the plan's placement is made.
void check_scheduling(const PlanInput& input, const Plan& plan, std::vector<Diagnostic>& findings);

}  // namespace vmrig
