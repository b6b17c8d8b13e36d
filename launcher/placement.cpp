#include "launcher/placement.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace vmrig {
namespace {

std::string plural(std::size_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

// The CPUs that another VM holds for itself alone.
CpuSet held_cpus(const std::vector<Lease>& leases) {
  CpuSet held;
  for (const Lease& lease : leases) held = held | lease.exclusive_cpus;
  return held;
}

std::string holder_of(const CpuSet& cpus, const std::vector<Lease>& leases) {
  for (const Lease& lease : leases) {
    if (!(lease.exclusive_cpus & cpus).empty()) return lease.vm;
  }
  return {};
}

class Placer {
 public:
  Placer(const PlanInput& input, HugepageSize hugepages, const std::vector<NodeWish>& wishes,
         std::vector<Diagnostic>& findings)
      : config_(input.config),
        facts_(input.facts),
        leases_(input.leases),
        hugepages_(hugepages),
        wishes_(wishes),
        findings_(findings),
        held_(held_cpus(input.leases)) {}

  ThreadPlacement place() {
    result_.vcpus.resize(static_cast<std::size_t>(vcpu_count()));
    choose_node();
    place_vcpus();
    place_emulator();
    place_iothreads();
    if (config_.memory.node_mode != Pinning::Mode::kNone) result_.node = node_;
    result_.near = node_;
    return std::move(result_);
  }

 private:
  int vcpu_count() const { return config_.cpu.max_vcpus.value_or(config_.cpu.vcpus); }

  void problem(std::string path, ExitStatus status, std::string message, std::string mend) {
    findings_.push_back({.severity = Severity::kProblem,
                         .status = status,
                         .path = std::move(path),
                         .message = std::move(message),
                         .mend = std::move(mend),
                         .file = {},
                         .line = 0});
  }

  CpuSet usable() const { return (facts_.allowed & facts_.online()) - held_; }

  // The CPUs in the order in which vCPUs take them: isolated ones first; whole cores before
  // siblings; CPU 0 and its siblings, which serve the host, last. A core of which one thread is
  // held or forbidden is no whole core.
  std::vector<int> vcpu_candidates(const CpuSet& within) const {
    struct Candidate {
      bool housekeeping, shared, not_isolated, sibling;
      int cpu;
    };
    const CpuSet free = usable() & within;
    const CpuSet housekeeping = facts_.siblings(0);
    const bool whole_cores = config_.cpu.smt != SmtPolicy::kUse;
    std::set<int> cores;
    std::vector<Candidate> list;
    for (int cpu : free.cpus()) {
      const CpuSet siblings = facts_.siblings(cpu);
      const CpuFacts* fact = facts_.find_cpu(cpu);
      const bool second = fact != nullptr && fact->core >= 0 && !cores.insert(fact->core).second;
      const bool split = !free.includes(siblings);
      if (whole_cores && (second || split)) continue;
      list.push_back(
          {housekeeping.contains(cpu), split, !facts_.isolated.contains(cpu), second, cpu});
    }
    std::stable_sort(list.begin(), list.end(), [](const Candidate& a, const Candidate& b) {
      return std::tie(a.housekeeping, a.not_isolated, a.shared, a.sibling) <
             std::tie(b.housekeeping, b.not_isolated, b.shared, b.sibling);
    });
    std::vector<int> cpus;
    cpus.reserve(list.size());
    for (const Candidate& candidate : list) cpus.push_back(candidate.cpu);
    return cpus;
  }

  CpuSet cpus_of_node(const NumaNode& node) const { return node.cpus; }

  std::uint64_t free_pages(const NumaNode& node) const {
    const HugepagePool* pool = find_pool(node, page_size_of(hugepages_));
    return pool == nullptr ? 0 : pool->free;
  }

  std::uint64_t wanted_pages() const {
    const Bytes page = page_size_of(hugepages_);
    return page.value == 0 ? 0 : config_.memory.size.value / page.value;
  }

  std::size_t wishes_met(const NumaNode& node) const {
    return static_cast<std::size_t>(
        std::count_if(wishes_.begin(), wishes_.end(),
                      [&](const NodeWish& wish) { return wish.there.count(node.id) != 0; }));
  }

  // The devices come first: DMA and interrupts over the sockets' link cost more than anything
  // else. Then a node that holds everything is best; then one with the pages, which can't be had
  // elsewhere; then the one with more isolated and more free CPUs.
  void choose_node() {
    if (facts_.nodes.empty()) return;
    if (config_.memory.node_mode == Pinning::Mode::kList) {
      node_ = config_.memory.node;
      const NumaNode* node = facts_.find_node(*node_);
      if (node == nullptr || !facts_.allowed_nodes.contains(*node_)) {
        problem("memory.node", ExitStatus::kHost,
                node == nullptr ? fmt::format("this host has no NUMA node {}", *node_)
                                : fmt::format("memory of node {} is not allowed here", *node_),
                fmt::format("\"node\": {}", facts_.nodes.front().id));
        node_.reset();
        return;
      }
      result_.reasons.push_back("the config asks for it");
      return;
    }
    const bool wanted = config_.memory.node_mode == Pinning::Mode::kAuto ||
                        config_.cpu.pin.mode == Pinning::Mode::kAuto;
    if (!wanted) return;
    if (config_.cpu.pin.mode == Pinning::Mode::kList) {
      follow_pinned_node();
      return;
    }
    struct Score {
      std::size_t devices;
      bool both, pages, cpus;
      std::size_t isolated, free;
    };
    const NumaNode* best = nullptr;
    Score best_score{};
    const auto count = static_cast<std::size_t>(vcpu_count());
    for (const NumaNode& node : facts_.nodes) {
      if (!facts_.allowed_nodes.contains(node.id)) continue;
      const std::vector<int> candidates = vcpu_candidates(cpus_of_node(node));
      CpuSet set;
      for (int cpu : candidates) set.insert(cpu);
      const bool pages = hugepages_ == HugepageSize::kNone ? node.memory_free >= config_.memory.size
                                                           : free_pages(node) >= wanted_pages();
      const bool cpus = config_.cpu.pin.mode != Pinning::Mode::kAuto || candidates.size() >= count;
      const Score score{
          wishes_met(node), pages && cpus, pages, cpus, (set & facts_.isolated).size(), set.size()};
      auto key = [count](const Score& s) {
        return std::make_tuple(s.devices, s.both, s.pages, s.cpus, std::min(s.isolated, count),
                               s.free);
      };
      if (best == nullptr || key(score) > key(best_score)) {
        best = &node;
        best_score = score;
      }
    }
    if (best == nullptr) return;
    node_ = best->id;
    explain_node(*best);
  }

  void follow_pinned_node() {
    CpuSet pinned;
    for (const std::string& list : config_.cpu.pin.cpulists) pinned = pinned | CpuSet::parse(list);
    for (const NumaNode& node : facts_.nodes) {
      if (node.cpus.includes(pinned)) {
        node_ = node.id;
        result_.reasons.push_back(fmt::format("the CPUs of \"pin\" are on node {}", node.id));
        return;
      }
    }
  }

  void explain_node(const NumaNode& node) {
    const CpuSet isolated = node.cpus & facts_.isolated & usable();
    std::string why;
    auto add = [&why](const std::string& text) { why += (why.empty() ? "" : "; ") + text; };
    for (const NodeWish& wish : wishes_) {
      const auto found = wish.there.find(node.id);
      if (found != wish.there.end()) add(found->second);
    }
    if (hugepages_ != HugepageSize::kNone) {
      const HugepagePool* pool = find_pool(node, page_size_of(hugepages_));
      add(fmt::format("{} of {} {} pages free", free_pages(node), pool == nullptr ? 0 : pool->total,
                      to_string(page_size_of(hugepages_))));
    } else {
      add(fmt::format("{} MiB free", node.memory_free.value >> 20));
    }
    if (!isolated.empty()) add(fmt::format("CPUs {} isolated", isolated.to_string()));
    result_.reasons.push_back(why);
    for (const NumaNode& other : facts_.nodes) {
      if (other.id == node.id) continue;
      std::string reason;
      if (!facts_.allowed_nodes.contains(other.id)) {
        reason = "not allowed";
      } else if (const NodeWish* wish = lacking(other, node)) {
        reason = wish->lack;
      } else if (hugepages_ != HugepageSize::kNone && free_pages(other) < wanted_pages()) {
        reason =
            fmt::format("{} free {} pages", free_pages(other), to_string(page_size_of(hugepages_)));
      } else if ((other.cpus & facts_.isolated).empty() && !isolated.empty()) {
        reason = "no isolated CPUs";
      } else {
        reason = fmt::format("{} free", plural((other.cpus & usable()).size(), "CPU"));
      }
      result_.passed_over.push_back(fmt::format("node {} ({})", other.id, reason));
    }
  }

  // What `chosen` has and `other` has not.
  const NodeWish* lacking(const NumaNode& other, const NumaNode& chosen) const {
    for (const NodeWish& wish : wishes_) {
      if (wish.there.count(chosen.id) != 0 && wish.there.count(other.id) == 0) return &wish;
    }
    return nullptr;
  }

  CpuSet node_cpus() const {
    if (!node_) return facts_.online();
    const NumaNode* node = facts_.find_node(*node_);
    // Firmware and containers without NUMA give a node without CPUs: no wall then.
    return node == nullptr || node->cpus.empty() ? facts_.online() : node->cpus;
  }

  void place_vcpus() {
    if (config_.cpu.pin.mode == Pinning::Mode::kNone) return;
    if (config_.cpu.pin.mode == Pinning::Mode::kList) {
      for (std::size_t i = 0; i < config_.cpu.pin.cpulists.size(); ++i) {
        result_.vcpus[i] = CpuSet::parse(config_.cpu.pin.cpulists[i]);
        check_list(result_.vcpus[i], fmt::format("cpu.pin[{}]", i));
        vcpu_cpus_ = vcpu_cpus_ | result_.vcpus[i];
      }
      return;
    }
    const std::vector<int> candidates = vcpu_candidates(node_cpus());
    const auto count = static_cast<std::size_t>(vcpu_count());
    if (candidates.size() < count) return refuse_for_want_of_cpus(candidates.size());
    for (std::size_t i = 0; i < count; ++i) {
      result_.vcpus[i].insert(candidates[i]);
      vcpu_cpus_.insert(candidates[i]);
    }
    std::sort(result_.vcpus.begin(), result_.vcpus.end(),
              [](const CpuSet& a, const CpuSet& b) { return a.first() < b.first(); });
    if (vcpu_cpus_.contains(0)) {
      result_.reasons.push_back("CPU 0, which serves the host, is used: nothing else is there");
    } else {
      result_.passed_over.push_back("CPU 0 (housekeeping)");
    }
  }

  void refuse_for_want_of_cpus(std::size_t found) {
    const std::string unit = config_.cpu.smt == SmtPolicy::kUse ? "CPU" : "whole core";
    const std::string where =
        node_ && facts_.nodes.size() > 1 ? fmt::format("node {}", *node_) : "this host";
    const CpuSet held_here = held_ & node_cpus();
    if (!held_here.empty()) {
      const std::string holder = holder_of(held_here, leases_);
      problem("cpu.pin", ExitStatus::kBusy,
              fmt::format("{} are needed, {} has {} left; CPUs {} are held by VM \"{}\"",
                          plural(static_cast<std::size_t>(vcpu_count()), unit), where, found,
                          held_here.to_string(), holder),
              fmt::format("vmrig stop {}", holder));
      return;
    }
    problem("cpu.pin", ExitStatus::kHost,
            fmt::format("{} are needed, one a vCPU; {} has {} (CPUs {})",
                        plural(static_cast<std::size_t>(vcpu_count()), unit), where, found,
                        (usable() & node_cpus()).to_string()),
            found > 0 ? fmt::format("--set cpu.vcpus={}, or --set cpu.pin=none", found)
                      : "--set cpu.pin=none");
  }

  // A list of the user's own: every CPU of it has to be there, allowed and free.
  void check_list(const CpuSet& cpus, const std::string& path) {
    const CpuSet absent = cpus - facts_.present - facts_.online();
    const CpuSet offline = cpus - absent - facts_.online();
    const CpuSet forbidden = cpus - absent - offline - facts_.allowed;
    const CpuSet held = cpus & held_;
    if (!absent.empty()) {
      problem(path, ExitStatus::kHost,
              fmt::format("this host has no CPU {}; it has {}", absent.to_string(),
                          facts_.online().to_string()),
              {});
    }
    if (!offline.empty()) {
      problem(path, ExitStatus::kHost, fmt::format("CPU {} is offline", offline.to_string()),
              fmt::format("echo 1 > /sys/devices/system/cpu/cpu{}/online", offline.first()));
    }
    if (!forbidden.empty()) {
      problem(path, ExitStatus::kHost,
              fmt::format("CPU {} is outside the cpuset that vmrig runs in ({})",
                          forbidden.to_string(), facts_.allowed.to_string()),
              "choose among these, or widen the container's cpuset");
    }
    if (!held.empty()) {
      const std::string holder = holder_of(held, leases_);
      problem(path, ExitStatus::kBusy,
              fmt::format("CPU {} is held by VM \"{}\"", held.to_string(), holder),
              fmt::format("vmrig stop {}", holder));
    }
  }

  CpuSet siblings_of_vcpus() const {
    CpuSet set;
    for (int cpu : vcpu_cpus_.cpus()) set = set | facts_.siblings(cpu);
    return (set & usable()) - vcpu_cpus_;
  }

  void place_emulator() {
    const Pinning& emulator = config_.cpu.emulator;
    if (emulator.mode == Pinning::Mode::kNone) return;
    if (emulator.mode == Pinning::Mode::kList) {
      result_.emulator = CpuSet::parse(emulator.cpulists.front());
      check_list(result_.emulator, "cpu.emulator");
      return;
    }
    if (config_.cpu.smt == SmtPolicy::kEmulator) result_.emulator = siblings_of_vcpus();
    if (result_.emulator.empty()) result_.emulator = spare_cpu();
    if (result_.emulator.empty()) {
      problem(
          "cpu.emulator", ExitStatus::kHost,
          fmt::format("no CPU is left for QEMU's other threads: the vCPUs have {}",
                      vcpu_cpus_.to_string()),
          fmt::format("--set cpu.vcpus={}, or --set cpu.emulator={}", std::max(1, vcpu_count() - 1),
                      vcpu_cpus_.empty() ? 0 : vcpu_cpus_.first()));
    }
  }

  // One more CPU near the vCPUs that none of them has, CPU 0 only when nothing else is left.
  CpuSet spare_cpu() const {
    const CpuSet idle = config_.cpu.smt == SmtPolicy::kIsolate ? siblings_of_vcpus() : CpuSet{};
    const CpuSet free = (usable() & node_cpus()) - vcpu_cpus_ - result_.emulator - idle;
    CpuSet chosen;
    CpuSet better = free - facts_.siblings(0);
    const int cpu = better.empty() ? free.first() : better.first();
    if (cpu >= 0) chosen.insert(cpu);
    return chosen;
  }

  void place_iothreads() {
    std::vector<int> emulator = result_.emulator.cpus();
    std::size_t next = 0;
    for (std::size_t i = 0; i < config_.iothreads.size(); ++i) {
      const IothreadConfig& iothread = config_.iothreads[i];
      if (iothread.pin == "none") continue;
      CpuSet& cpus = result_.iothreads[iothread.id];
      if (iothread.pin != "auto") {
        cpus = CpuSet::parse(iothread.pin);
        check_list(cpus, fmt::format("iothreads[{}].pin", i));
      } else if (!emulator.empty()) {
        cpus.insert(emulator[next++ % emulator.size()]);
      } else {
        cpus = spare_cpu();
        if (cpus.empty()) {
          problem(fmt::format("iothreads[{}].pin", i), ExitStatus::kHost,
                  "no CPU is left for the iothread", R"("pin": "none")");
        }
      }
    }
  }

  const VmConfig& config_;
  const HostFacts& facts_;
  const std::vector<Lease>& leases_;
  HugepageSize hugepages_;
  const std::vector<NodeWish>& wishes_;
  std::vector<Diagnostic>& findings_;
  CpuSet held_;
  CpuSet vcpu_cpus_;
  std::optional<int> node_;
  ThreadPlacement result_;
};

}  // namespace

ThreadPlacement place_threads(const PlanInput& input, HugepageSize hugepages,
                              const std::vector<NodeWish>& wishes,
                              std::vector<Diagnostic>& findings) {
  return Placer(input, hugepages, wishes, findings).place();
}

const HugepagePool* find_pool(const NumaNode& node, Bytes page_size) {
  for (const HugepagePool& pool : node.hugepages) {
    if (pool.page_size == page_size) return &pool;
  }
  return nullptr;
}

}  // namespace vmrig
