// What it takes to start a VM's QEMU once more as it was started first, kept in the VM's folder:
// the supervisor that does it may be another, and one that idles need not hold a plan in memory.
#pragma once

#include <string>
#include <vector>

#include "hostcfg/base/json.hpp"
#include "launcher/plan.hpp"

namespace vmrig {

inline constexpr const char* kRecipeName = "launch.json";

// All of the plan but its host steps, which are done, and its findings.
Json recipe_of(const Plan& plan);
// Throws vmrig::Error when it is no recipe of this version of vmrig.
Plan plan_of_recipe(const Json& recipe);

// Without the devices of these ids: their arguments, fds, memory and helpers. The root ports of PCI
// devices stay, empty.
Plan without_devices(Plan plan, const std::vector<std::string>& ids);

}  // namespace vmrig
