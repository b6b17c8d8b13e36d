#include "launcher/page_plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "launcher/node_choice.hpp"
#include "launcher/preflight.hpp"

namespace vmrig {
namespace {

void add_need(std::vector<PageNeed>& needs, PageNeed need) {
  if (need.pages == 0) return;
  for (PageNeed& known : needs) {
    if (known.node != need.node || known.page_size != need.page_size) continue;
    known.pages += need.pages;
    return;
  }
  needs.push_back(std::move(need));
}

bool is_counted(const HostFacts& facts, const NumaNode& node, std::optional<int> wanted) {
  // Facts of hosts without NUMA know of no allowed nodes.
  const bool is_allowed = facts.allowed_nodes.empty() || facts.allowed_nodes.contains(node.id);
  return wanted ? node.id == *wanted : is_allowed;
}

std::uint64_t free_pages(const HostFacts& facts, std::optional<int> node, Bytes page_size) {
  std::uint64_t free = 0;
  for (const NumaNode& each : facts.nodes) {
    const HugepagePool* pool = find_pool(each, page_size);
    if (pool != nullptr && is_counted(facts, each, node)) free += pool->free;
  }
  return free;
}

// What `lease` will still take of a node's pages, or of any.
std::uint64_t claimed_pages(const Lease& lease, std::optional<int> node, Bytes page_size) {
  std::uint64_t pages = 0;
  for (const PageClaim& claim : lease.pages) {
    if (claim.page_size != page_size || (node && claim.node != *node)) continue;
    pages += claim.pages - std::min(claim.pages, claim.reserved);
  }
  return pages;
}

std::uint64_t left_of(std::uint64_t free, const std::vector<Lease>& leases, std::optional<int> node,
                      Bytes page_size) {
  for (const Lease& lease : leases) {
    free -= std::min(free, claimed_pages(lease, node, page_size));
  }
  return free;
}

// The one that has claimed the most.
const Lease* holder_of_pages(const std::vector<Lease>& leases, std::optional<int> node,
                             Bytes page_size) {
  const Lease* holder = nullptr;
  std::uint64_t most = 0;
  for (const Lease& lease : leases) {
    // A claim on any node is one on this, too.
    const std::uint64_t pages =
        std::max(claimed_pages(lease, node, page_size), claimed_pages(lease, -1, page_size));
    if (pages <= most) continue;
    most = pages;
    holder = &lease;
  }
  return holder;
}

const NumaNode* node_with_pool(const HostFacts& facts, const PageNeed& need) {
  for (const NumaNode& node : facts.nodes) {
    if (is_counted(facts, node, need.node) && find_pool(node, need.page_size) != nullptr) {
      return &node;
    }
  }
  return nullptr;
}

}  // namespace

std::vector<PageNeed> page_needs(const std::vector<MemoryPart>& parts) {
  std::vector<PageNeed> needs;
  for (const MemoryPart& part : parts) {
    if (!part.is_huge() || part.is_elastic) continue;
    const std::uint64_t pages = part.size.value / part.page_size.value;
    const std::string origin =
        part.origin == "memory" ? "memory.hugepages" : part.origin + ".hugepages";
    const std::vector<int> nodes = part.nodes.cpus();
    if (nodes.empty() || part.policy == MemoryPolicy::kPreferred) {
      add_need(needs, {std::nullopt, part.page_size, pages, origin});
      continue;
    }
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      const std::uint64_t share = (pages + nodes.size() - 1 - i) / nodes.size();
      add_need(needs, {nodes[i], part.page_size, share, origin});
    }
  }
  return needs;
}

std::uint64_t available_pages(const HostFacts& facts, const std::vector<Lease>& leases,
                              std::optional<int> node, Bytes page_size) {
  const std::uint64_t everywhere =
      left_of(free_pages(facts, std::nullopt, page_size), leases, std::nullopt, page_size);
  if (!node) return everywhere;
  // Claims on any node may fall on this one.
  return std::min(everywhere, left_of(free_pages(facts, node, page_size), leases, node, page_size));
}

std::uint64_t check_pages(const PlanInput& input, const PageNeed& need, Reserving reserving,
                          std::vector<Diagnostic>& findings) {
  const HostFacts& facts = input.facts;
  const std::string where =
      need.node ? fmt::format("node {}", *need.node) : std::string("this host");
  const std::string size = to_string(need.page_size);
  const NumaNode* node = node_with_pool(facts, need);
  if (node == nullptr) {
    findings.push_back(finding(
        Severity::kProblem, need.origin, fmt::format("{} has no pool of {} pages", where, size),
        need.page_size == Bytes::gib(1)
            ? "boot with hugepagesz=1G hugepages=N, or \"hugepages\": \"2MiB\""
            : "--set memory.hugepages=none"));
    return 0;
  }
  const std::uint64_t free = free_pages(facts, need.node, need.page_size);
  const std::uint64_t available = available_pages(facts, input.leases, need.node, need.page_size);
  const std::uint64_t missing = need.pages - std::min(need.pages, available);
  const Lease* holder = holder_of_pages(input.leases, need.node, need.page_size);
  std::string found = fmt::format("{} has {} free {} pages", where, free, size);
  if (available < free && holder != nullptr) {
    found += fmt::format(", of which VM \"{}\" has claimed {}", holder->vm, free - available);
  }
  found += fmt::format(", {} are needed", need.pages);
  if (missing == 0 || reserving == Reserving::kYes) {
    if (missing > 0) found += fmt::format(": {} will be reserved", missing);
    findings.push_back(finding(Severity::kOk, need.origin, std::move(found)));
    return missing;
  }
  if (free >= need.pages && holder != nullptr) {
    findings.push_back(finding(Severity::kProblem, need.origin, std::move(found),
                               fmt::format("vmrig stop {}", holder->vm), ExitStatus::kBusy));
    return missing;
  }
  findings.push_back(finding(Severity::kProblem, need.origin, std::move(found),
                             fmt::format("echo {} > /{}/nr_hugepages, or \"reserve\": true",
                                         find_pool(*node, need.page_size)->total + missing,
                                         page_pool_folder(node->id, need.page_size))));
  return missing;
}

}  // namespace vmrig
