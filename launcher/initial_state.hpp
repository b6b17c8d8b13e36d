// The state with which a VM is claimed: all that the plan says, nothing of the start yet.
#pragma once

#include "launcher/plan.hpp"
#include "launcher/vm_state.hpp"

namespace vmrig {

enum class RunMode { kForeground, kDetached };

VmState initial_state(const Plan& plan, RunMode mode);

}  // namespace vmrig
