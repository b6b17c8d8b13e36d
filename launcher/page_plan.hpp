// Hugepages that a VM needs, against what the pools have and other VMs have claimed. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "launcher/memory_plan.hpp"
#include "launcher/plan.hpp"

namespace vmrig {

// Pages of one size that have to come from one node, or from any.
struct PageNeed {
  std::optional<int> node;
  Bytes page_size;
  std::uint64_t pages = 0;
  std::string origin;  // config path of the first part that needs them
};

// One for each node and size. A virtio-mem device takes its pages as it gives them: none here.
std::vector<PageNeed> page_needs(const std::vector<MemoryPart>& parts);

// Free pages that no other VM is about to take. Without a node: of all nodes that are allowed.
std::uint64_t available_pages(const HostFacts& facts, const std::vector<Lease>& leases,
                              std::optional<int> node, Bytes page_size);

enum class Reserving { kNo, kYes };

// Finds what is wrong with the need: kBusy naming the VM that has claimed the pages, kHost where
// there are none. With kYes pages that are missing are no fault; returns how many.
std::uint64_t check_pages(const PlanInput& input, const PageNeed& need, Reserving reserving,
                          std::vector<Diagnostic>& findings);

}  // namespace vmrig
