// Which host CPUs and which NUMA node a VM gets, and why.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "launcher/plan.hpp"

namespace vmrig {

// A device that is wanted, by the NUMA nodes where it can be had.
struct NodeWish {
  std::map<int, std::string> there;  // "VF 0000:3b:10.1 of eno2 is there", by node
  std::string lack;                  // what is said of other nodes: "no VF of eno2"
};

// Chooses for every "auto" and checks every list of the user's. Faults are appended to
// `findings`: a CPU that the host lacks or does not allow, one that another VM holds, or none
// left. A node where more of the `wishes` are comes before all else. Pure and deterministic.
ThreadPlacement place_threads(const PlanInput& input, HugepageSize hugepages,
                              const std::vector<NodeWish>& wishes,
                              std::vector<Diagnostic>& findings);

// The hugepage pool of one node for pages of `page_size`, null when it has none.
const HugepagePool* find_pool(const NumaNode& node, Bytes page_size);

}  // namespace vmrig
