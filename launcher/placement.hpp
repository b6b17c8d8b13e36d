// Which host CPUs and which NUMA node a VM gets, and why.
#pragma once

#include <vector>

#include "launcher/plan.hpp"

namespace vmrig {

// Chooses for every "auto" and checks every list of the user's. Faults are appended to
// `findings`: a CPU that the host lacks or does not allow, one that another VM holds, or none
// left. Pure and deterministic.
ThreadPlacement place_threads(const PlanInput& input, HugepageSize hugepages,
                              std::vector<Diagnostic>& findings);

// The hugepage pool of one node for pages of `page_size`, null when it has none.
const HugepagePool* find_pool(const NumaNode& node, Bytes page_size);

// In bytes; 0 for kNone.
Bytes page_size_of(HugepageSize size);

}  // namespace vmrig
