// On which NUMA nodes a VM lies, and why not on others.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "launcher/free_cpus.hpp"
#include "launcher/plan.hpp"

namespace vmrig {

// A device that is wanted, by the NUMA nodes where it can be had.
struct NodeWish {
  std::map<int, std::string> there;  // "VF 0000:3b:10.1 of eno2 is there", by node
  std::string lack;                  // what is said of other nodes: "no VF of eno2"
};

// What lies together on one node: the VM, or one cell of it.
struct NodeShare {
  std::size_t vcpus = 0;  // that are to be given CPUs; 0: they may run anywhere
  bool emulator = false;  // QEMU's other threads are to be given CPUs there, too
  Bytes memory;
};

// Pure and deterministic. Refers to what it is made of.
class NodeChoice {
 public:
  NodeChoice(const PlanInput& input, const FreeCpus& cpus, HugepageSize hugepages,
             const std::vector<NodeWish>& wishes)
      : facts_(input.facts),
        leases_(input.leases),
        reserves_(input.config.memory.reserve),
        cpus_(cpus),
        hugepages_(hugepages),
        wishes_(wishes) {}

  // A node that holds all of the share comes first; then the one with more of the wished devices:
  // DMA and interrupts over the sockets' link cost more than anything else. Then one with the
  // pages, which can't be had elsewhere; then with more isolated and more free CPUs. Nodes in
  // `used` come last. nullopt when no node may be used.
  std::optional<int> best(const NodeShare& share, const std::set<int>& used = {}) const;

  bool fits(int node, const NodeShare& share) const;
  // Whether it would hold the share if no VM were there. `unheld` are the CPUs without leases.
  bool could_hold(const NumaNode& node, const NodeShare& share, const FreeCpus& unheld) const;
  // The fewest nodes over which the share can be spread evenly, near each other, and the part of
  // each: vCPUs and memory halved, thirded, …; the first part may be larger by what does not
  // divide. Empty when there are none.
  std::vector<std::pair<int, NodeShare>> spread(const NodeShare& whole) const;

  // "VF 0000:3b:10.1 of eno2 is there; 30 of 32 1GiB pages free; CPUs 1-8,37-44 isolated".
  std::string why(int node) const;
  // "node 1 (no VF of eno2)", one for each node that is not in `chosen`.
  std::vector<std::string> passed_over(const std::set<int>& chosen, const NodeShare& share) const;

 private:
  struct Offer;
  Offer offer(const NumaNode& node, const NodeShare& share) const;
  bool memory_fits(const NumaNode& node, Bytes memory) const;
  std::uint64_t free_pages(const NumaNode& node) const;  // that no other VM has claimed
  std::string why_not(const NumaNode& other, const NodeShare& share,
                      const std::set<int>& chosen) const;
  Bytes page() const;

  const HostFacts& facts_;
  const std::vector<Lease>& leases_;
  bool reserves_;  // pages that a pool lacks are added to it
  const FreeCpus& cpus_;
  HugepageSize hugepages_;
  const std::vector<NodeWish>& wishes_;
};

// The hugepage pool of one node for pages of `page_size`, null when it has none.
const HugepagePool* find_pool(const NumaNode& node, Bytes page_size);

// "1 vCPU", "3 CPUs".
std::string counted(std::size_t count, std::string_view noun);

}  // namespace vmrig
