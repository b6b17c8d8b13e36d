#include "launcher/free_cpus.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

namespace vmrig {

struct FreeCpus::Candidate {
  int cpu = 0;
  int l3 = -1;
  // In the order in which they count against it.
  bool housekeeping = false, not_isolated = false, shared = false, split = false, second = false;
  auto rank() const { return std::tie(housekeeping, not_isolated, shared, split, second); }
};

namespace {

CpuSet kept_by(const Lease& lease, bool exclusive) {
  return exclusive ? lease.exclusive_cpus | lease.shared_cpus : lease.exclusive_cpus;
}

// Takes whole groups until `missing` are there: one that is large enough alone, and of those the
// smallest, so that the larger ones stay whole for others; else the largest, to need few.
std::vector<int> by_cache(std::map<int, std::vector<int>> groups, const std::set<int>& begun,
                          std::size_t missing) {
  std::vector<int> order;
  while (!groups.empty()) {
    const std::size_t needed = missing - std::min(missing, order.size());
    const auto better = [&](const auto& a, const auto& b) {
      const auto key = [&](const auto& group) {
        const std::size_t size = group.second.size();
        const bool fits = size >= needed;
        // A cache that this VM uses already comes first; then the best size; then the lower number.
        return std::make_tuple(begun.count(group.first) == 0, !fits, fits ? size : ~size,
                               group.second.front());
      };
      return key(a) < key(b);
    };
    const auto best = std::min_element(groups.begin(), groups.end(), better);
    order.insert(order.end(), best->second.begin(), best->second.end());
    groups.erase(best);
  }
  return order;
}

}  // namespace

FreeCpus::FreeCpus(const HostFacts& facts, const std::vector<Lease>& leases, bool exclusive,
                   SmtPolicy smt)
    : facts_(facts), leases_(leases), exclusive_(exclusive), smt_(smt) {
  for (const Lease& lease : leases) {
    held_ = held_ | kept_by(lease, exclusive);
    shared_ = shared_ | lease.shared_cpus;
  }
  usable_ = (facts.allowed & facts.online()) - held_;
  housekeeping_ = facts.siblings(0);
}

std::string FreeCpus::holder_of(const CpuSet& cpus) const {
  for (const Lease& lease : leases_) {
    if (!(kept_by(lease, exclusive_) & cpus).empty()) return lease.vm;
  }
  return {};
}

std::vector<FreeCpus::Candidate> FreeCpus::candidates(const CpuSet& within) const {
  const CpuSet free = usable_ & within;
  // A core of which one thread is held or forbidden is no whole core.
  std::set<int> split_cores;
  for (const CpuFacts& fact : facts_.cpus) {
    if (fact.core >= 0 && !free.contains(fact.id)) split_cores.insert(fact.core);
  }
  std::set<int> cores;
  std::vector<Candidate> list;
  for (const int cpu : free.cpus()) {
    const CpuFacts* fact = facts_.find_cpu(cpu);
    if (fact == nullptr) continue;
    const bool second = fact->core >= 0 && !cores.insert(fact->core).second;
    const bool split = split_cores.contains(fact->core);
    if (smt_ != SmtPolicy::kUse && (second || split)) continue;
    list.push_back({.cpu = cpu,
                    .l3 = fact->l3,
                    .housekeeping = housekeeping_.contains(cpu),
                    .not_isolated = !facts_.isolated.contains(cpu),
                    .shared = shared_.contains(cpu),
                    .split = split,
                    .second = second});
  }
  return list;
}

std::vector<int> FreeCpus::for_vcpus(const CpuSet& within, std::size_t count) const {
  std::vector<Candidate> list = candidates(within);
  std::stable_sort(list.begin(), list.end(),
                   [](const Candidate& a, const Candidate& b) { return a.rank() < b.rank(); });
  std::vector<int> order;
  std::set<int> begun;  // caches of CPUs that are taken for sure
  for (std::size_t i = 0; i < list.size();) {
    std::map<int, std::vector<int>> groups;
    std::size_t end = i;
    for (; end < list.size() && list[end].rank() == list[i].rank(); ++end) {
      groups[list[end].l3].push_back(list[end].cpu);
    }
    const std::size_t missing = count - std::min(count, order.size());
    const std::vector<int> equals = by_cache(std::move(groups), begun, missing);
    order.insert(order.end(), equals.begin(), equals.end());
    for (; i < end; ++i) begun.insert(list[i].l3);
  }
  return order;
}

CpuSet FreeCpus::siblings_of(const CpuSet& vcpus) const {
  CpuSet set;
  for (const int cpu : vcpus.cpus()) set = set | facts_.siblings(cpu);
  return set - vcpus;
}

CpuSet FreeCpus::spare(const CpuSet& vcpus, const CpuSet& within) const {
  const CpuSet idle = smt_ == SmtPolicy::kIsolate ? siblings_of(vcpus) : CpuSet();
  const CpuSet free = (usable_ & within) - vcpus - idle;
  for (const CpuSet& better :
       {free & facts_.isolated, free - housekeeping_ - shared_, free - housekeeping_, free}) {
    if (!better.empty()) return CpuSet{better.first()};
  }
  return {};
}

CpuSet FreeCpus::for_emulator(const CpuSet& vcpus, const CpuSet& within) const {
  if (smt_ == SmtPolicy::kEmulator) {
    const CpuSet siblings = siblings_of(vcpus) & usable_;
    if (!siblings.empty()) return siblings;
  }
  return spare(vcpus, within);
}

}  // namespace vmrig
