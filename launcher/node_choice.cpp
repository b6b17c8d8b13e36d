#include "launcher/node_choice.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "launcher/page_plan.hpp"

namespace vmrig {
namespace {

constexpr int kFarAway = 255;  // ACPI SLIT: unreachable

CpuSet first_of(const std::vector<int>& cpus, std::size_t count) {
  CpuSet set;
  for (std::size_t i = 0; i < cpus.size() && i < count; ++i) set.insert(cpus[i]);
  return set;
}

int distance(const NumaNode& from, int to) {
  const auto found = from.distances.find(to);
  return found == from.distances.end() ? kFarAway : found->second;
}

}  // namespace

struct NodeChoice::Offer {
  bool unused = true;
  std::size_t devices = 0;
  bool memory_fits = false;
  bool cpus_fit = false;
  std::size_t isolated = 0;  // of the CPUs that the vCPUs would get
  std::size_t free = 0;
  auto key() const {
    return std::make_tuple(unused, memory_fits && cpus_fit, devices, memory_fits, cpus_fit,
                           isolated, free);
  }
};

Bytes NodeChoice::page() const {
  return hugepages_ == HugepageSize::kNone ? Bytes::mib(1) : page_size_of(hugepages_);
}

std::uint64_t NodeChoice::free_pages(const NumaNode& node) const {
  return available_pages(facts_, leases_, node.id, page_size_of(hugepages_));
}

bool NodeChoice::memory_fits(const NumaNode& node, Bytes memory) const {
  if (hugepages_ == HugepageSize::kNone) return node.memory_free >= memory;
  const std::uint64_t room = reserves_ ? node.memory_free.value / page().value : 0;
  return free_pages(node) + room >= memory.value / page().value;
}

NodeChoice::Offer NodeChoice::offer(const NumaNode& node, const NodeShare& share) const {
  Offer offer;
  offer.devices = static_cast<std::size_t>(
      std::count_if(wishes_.begin(), wishes_.end(),
                    [&](const NodeWish& wish) { return wish.there.count(node.id) != 0; }));
  offer.memory_fits = memory_fits(node, share.memory);
  const std::vector<int> cpus = cpus_.for_vcpus(node.cpus, share.vcpus);
  const CpuSet vcpus = first_of(cpus, share.vcpus);
  offer.cpus_fit = cpus.size() >= share.vcpus &&
                   (!share.emulator || !cpus_.for_emulator(vcpus, node.cpus).empty());
  // Where vCPUs are not to be given CPUs of their own, more of them are still better.
  offer.isolated = (vcpus & facts_.isolated).size();
  offer.free = cpus.size();
  return offer;
}

std::optional<int> NodeChoice::best(const NodeShare& share, const std::set<int>& used) const {
  const NumaNode* best = nullptr;
  Offer best_offer;
  for (const NumaNode& node : facts_.nodes) {
    if (!facts_.allowed_nodes.contains(node.id)) continue;
    Offer mine = offer(node, share);
    mine.unused = used.count(node.id) == 0;
    if (best != nullptr && mine.key() <= best_offer.key()) continue;
    best = &node;
    best_offer = mine;
  }
  return best == nullptr ? std::nullopt : std::optional(best->id);
}

bool NodeChoice::fits(int node, const NodeShare& share) const {
  const NumaNode* found = facts_.find_node(node);
  if (found == nullptr || !facts_.allowed_nodes.contains(node)) return false;
  const Offer mine = offer(*found, share);
  return mine.memory_fits && mine.cpus_fit;
}

bool NodeChoice::could_hold(const NumaNode& node, const NodeShare& share,
                            const FreeCpus& unheld) const {
  if (!facts_.allowed_nodes.contains(node.id)) return false;
  const HugepagePool* pool = find_pool(node, page_size_of(hugepages_));
  const bool is_ordinary = hugepages_ == HugepageSize::kNone || reserves_;
  const Bytes memory = is_ordinary       ? node.memory_total
                       : pool == nullptr ? Bytes()
                                         : Bytes{pool->total * pool->page_size.value};
  return memory >= share.memory && unheld.for_vcpus(node.cpus, share.vcpus).size() >= share.vcpus;
}

std::vector<std::pair<int, NodeShare>> NodeChoice::spread(const NodeShare& whole) const {
  std::vector<const NumaNode*> nodes;
  for (const NumaNode& node : facts_.nodes) {
    if (facts_.allowed_nodes.contains(node.id)) nodes.push_back(&node);
  }
  // The best to begin with is the one that a VM of the first part's size would get.
  const std::uint64_t pages = whole.memory.value / page().value;
  for (std::size_t parts = 2; parts <= nodes.size() && parts <= whole.vcpus; ++parts) {
    std::vector<NodeShare> shares(parts);
    for (std::size_t i = 0; i < parts; ++i) {
      shares[i].vcpus = whole.vcpus / parts + (i < whole.vcpus % parts ? 1 : 0);
      shares[i].memory = Bytes{(pages / parts + (i < pages % parts ? 1 : 0)) * page().value};
      shares[i].emulator = whole.emulator && i == 0;
    }
    std::vector<const NumaNode*> starts = nodes;
    std::stable_sort(starts.begin(), starts.end(), [&](const NumaNode* a, const NumaNode* b) {
      return offer(*a, shares.front()).key() > offer(*b, shares.front()).key();
    });
    for (const NumaNode* start : starts) {
      std::vector<const NumaNode*> near = nodes;
      std::stable_sort(near.begin(), near.end(), [&](const NumaNode* a, const NumaNode* b) {
        return distance(*start, a->id) < distance(*start, b->id);
      });
      std::vector<std::pair<int, NodeShare>> chosen;
      for (const NumaNode* node : near) {
        if (chosen.size() < parts && fits(node->id, shares[chosen.size()])) {
          chosen.emplace_back(node->id, shares[chosen.size()]);
        }
      }
      if (chosen.size() < parts) continue;
      // The guest's nodes stand in the order of the host's.
      std::stable_sort(chosen.begin(), chosen.end(),
                       [](const auto& a, const auto& b) { return a.first < b.first; });
      return chosen;
    }
  }
  return {};
}

std::string NodeChoice::why(int id) const {
  const NumaNode& node = *facts_.find_node(id);
  std::vector<std::string> parts;
  for (const NodeWish& wish : wishes_) {
    const auto found = wish.there.find(id);
    if (found != wish.there.end()) parts.push_back(found->second);
  }
  if (hugepages_ == HugepageSize::kNone) {
    parts.push_back(fmt::format("{} MiB free", node.memory_free.value >> 20));
  } else {
    const HugepagePool* pool = find_pool(node, page_size_of(hugepages_));
    parts.push_back(fmt::format("{} of {} {} pages free", free_pages(node),
                                pool == nullptr ? 0 : pool->total, to_string(page())));
  }
  const CpuSet isolated = node.cpus & facts_.isolated & cpus_.usable();
  if (!isolated.empty()) parts.push_back(fmt::format("CPUs {} isolated", isolated.to_string()));
  return fmt::format("{}", fmt::join(parts, "; "));
}

std::string NodeChoice::why_not(const NumaNode& other, const NodeShare& share,
                                const std::set<int>& chosen) const {
  if (!facts_.allowed_nodes.contains(other.id)) return "not allowed";
  for (const NodeWish& wish : wishes_) {
    const bool there = std::any_of(chosen.begin(), chosen.end(),
                                   [&](int node) { return wish.there.count(node) != 0; });
    if (there && wish.there.count(other.id) == 0) return wish.lack;
  }
  if (!memory_fits(other, share.memory)) {
    return hugepages_ == HugepageSize::kNone
               ? fmt::format("{} MiB free", other.memory_free.value >> 20)
               : fmt::format("{} free {} pages", free_pages(other), to_string(page()));
  }
  const std::size_t found = cpus_.for_vcpus(other.cpus, share.vcpus).size();
  if (found < share.vcpus) {
    const CpuSet held = cpus_.held() & other.cpus;
    return held.empty()
               ? counted(found, "CPU") + " for vCPUs"
               : fmt::format("CPUs {} held by VM \"{}\"", held.to_string(), cpus_.holder_of(held));
  }
  const bool isolated = std::any_of(chosen.begin(), chosen.end(), [&](int id) {
    return !(facts_.find_node(id)->cpus & facts_.isolated & cpus_.usable()).empty();
  });
  if (isolated && (other.cpus & facts_.isolated).empty()) return "no isolated CPUs";
  return counted((other.cpus & cpus_.usable()).size(), "CPU") + " free";
}

std::vector<std::string> NodeChoice::passed_over(const std::set<int>& chosen,
                                                 const NodeShare& share) const {
  std::vector<std::string> list;
  for (const NumaNode& other : facts_.nodes) {
    if (chosen.count(other.id) != 0) continue;
    list.push_back(fmt::format("node {} ({})", other.id, why_not(other, share, chosen)));
  }
  return list;
}

const HugepagePool* find_pool(const NumaNode& node, Bytes page_size) {
  for (const HugepagePool& pool : node.hugepages) {
    if (pool.page_size == page_size) return &pool;
  }
  return nullptr;
}

std::string counted(std::size_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

}  // namespace vmrig
