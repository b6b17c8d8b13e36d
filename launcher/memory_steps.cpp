#include "launcher/memory_steps.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "launcher/node_choice.hpp"
#include "launcher/page_plan.hpp"
#include "launcher/preflight.hpp"

namespace vmrig {
namespace {

HostStep step_of(const PlanInput& input, HostAction action) {
  std::string text = describe_action(action, input.facts);
  std::string undo = describe_undo(action, input.facts);
  return {std::move(action), std::move(text), std::move(undo)};
}

// Where pages are added that may be anywhere: where most room is.
const NumaNode* node_for(const PlanInput& input, const PageNeed& need) {
  const HostFacts& facts = input.facts;
  const NumaNode* best = nullptr;
  for (const NumaNode& node : facts.nodes) {
    const bool is_allowed = facts.allowed_nodes.empty() || facts.allowed_nodes.contains(node.id);
    const bool is_wanted = need.node ? node.id == *need.node : is_allowed;
    if (!is_wanted || find_pool(node, need.page_size) == nullptr) continue;
    if (best == nullptr || node.memory_free > best->memory_free) best = &node;
  }
  return best;
}

void check_room(const PlanInput& input, const NumaNode& node, const PageNeed& need,
                std::uint64_t pages, std::vector<Diagnostic>& findings) {
  const Bytes more{pages * need.page_size.value};
  if (input.facts.user_id != 0) {
    findings.push_back(finding(Severity::kProblem, "memory.reserve",
                               "only root can add pages to the host's pools", "run vmrig as root"));
  } else if (more > node.memory_total) {
    findings.push_back(finding(Severity::kProblem, "memory.reserve",
                               fmt::format("{} more are wanted of node {}, which has {} MiB in all",
                                           to_string(more), node.id, node.memory_total.value >> 20),
                               "give the VM less memory"));
  } else if (more > node.memory_free) {
    findings.push_back(finding(
        Severity::kWarning, "memory.reserve",
        fmt::format("{} more are wanted of node {}, where {} MiB are free (caches may make room)",
                    to_string(more), node.id, node.memory_free.value >> 20)));
  }
}

bool needs_hugetlbfs(const PlanInput& input, const QemuUser& user, const MemoryPart& part) {
  return part.is_huge() && comes_from_hugetlbfs(part, input.config.memory, user);
}

}  // namespace

std::vector<HostStep> plan_memory_steps(const PlanInput& input,
                                        const std::vector<MemoryPart>& parts, const QemuUser& user,
                                        std::vector<PageClaim>& claims,
                                        std::vector<Diagnostic>& findings) {
  std::vector<HostStep> steps;
  const Reserving reserving = input.config.memory.reserve ? Reserving::kYes : Reserving::kNo;
  for (const PageNeed& need : page_needs(parts)) {
    const std::uint64_t missing = check_pages(input, need, reserving, findings);
    const NumaNode* node = node_for(input, need);
    const bool reserves = reserving == Reserving::kYes && missing > 0 && node != nullptr;
    claims.push_back({.node = need.node.value_or(-1),
                      .page_size = need.page_size,
                      .pages = need.pages,
                      .reserved = reserves ? missing : 0});
    if (!reserves) continue;
    check_room(input, *node, need, missing, findings);
    steps.push_back(step_of(input, ReservePages{node->id, need.page_size, missing}));
  }
  std::set<Bytes> mounted;
  for (const MemoryPart& part : parts) {
    if (!needs_hugetlbfs(input, user, part) || !mounted.insert(part.page_size).second) continue;
    const HugetlbfsPlace place = hugetlbfs_place(input, part.page_size);
    if (!place.is_own) continue;
    if (!input.facts.can_sys_admin) {
      findings.push_back(finding(
          Severity::kProblem, "memory.backing",
          fmt::format("no hugetlbfs with {} pages is mounted, and mounting takes CAP_SYS_ADMIN",
                      to_string(part.page_size)),
          "--set memory.backing=memfd, or run vmrig as root"));
    }
    steps.push_back(step_of(input, MountHugetlbfs{place.path, part.page_size}));
  }
  return steps;
}

}  // namespace vmrig
