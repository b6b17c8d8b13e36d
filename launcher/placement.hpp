// Which host CPUs and which NUMA nodes a VM gets, and why.
#pragma once

#include <vector>

#include "launcher/node_choice.hpp"
#include "launcher/plan.hpp"

namespace vmrig {

// Chooses for every "auto" and checks every list of the user's. Faults are appended to
// `findings`: a CPU that the host lacks or does not allow, one that another VM holds, or none
// left. Pure and deterministic.
ThreadPlacement place_threads(const PlanInput& input, HugepageSize hugepages,
                              const std::vector<NodeWish>& wishes,
                              std::vector<Diagnostic>& findings);

}  // namespace vmrig
