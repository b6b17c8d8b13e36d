#include "launcher/placement.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "launcher/preflight.hpp"

namespace vmrig {
namespace {

class Placer {
 public:
  Placer(const PlanInput& input, HugepageSize hugepages, const std::vector<NodeWish>& wishes,
         std::vector<Diagnostic>& findings)
      : config_(input.config),
        facts_(input.facts),
        findings_(findings),
        cpus_(input.facts, input.leases, input.config.cpu.exclusive, input.config.cpu.smt),
        unheld_(input.facts, no_leases_, input.config.cpu.exclusive, input.config.cpu.smt),
        nodes_(input, cpus_, hugepages, wishes) {}

  ThreadPlacement place() {
    result_.vcpus.resize(vcpu_count());
    if (!config_.numa.empty()) {
      place_on_cells();
    } else {
      choose_node();
    }
    if (result_.cells.empty()) {
      place_vcpus(all_vcpus(), node_, "cpu.pin");
      if (config_.memory.node_mode != Pinning::Mode::kNone) result_.node = node_;
      result_.near = node_;
    } else {
      for (std::size_t i = 0; i < result_.cells.size(); ++i) {
        const GuestCell& cell = result_.cells[i];
        place_vcpus(cell.vcpus, cell.node,
                    config_.numa.empty() ? "cpu.pin" : fmt::format("numa[{}].vcpus", i));
      }
    }
    explain_cpus();
    place_emulator();
    place_iothreads();
    place_vhost();
    return std::move(result_);
  }

 private:
  std::size_t vcpu_count() const {
    return static_cast<std::size_t>(config_.cpu.max_vcpus.value_or(config_.cpu.vcpus));
  }
  CpuSet all_vcpus() const {
    CpuSet set;
    for (std::size_t i = 0; i < vcpu_count(); ++i) set.insert(static_cast<int>(i));
    return set;
  }
  bool pins_by_itself() const { return config_.cpu.pin.mode == Pinning::Mode::kAuto; }

  void problem(std::string path, ExitStatus status, std::string message, std::string mend) {
    findings_.push_back(
        finding(Severity::kProblem, std::move(path), std::move(message), std::move(mend), status));
  }

  NodeShare share_of(std::size_t vcpus, Bytes memory) const {
    return {.vcpus = pins_by_itself() ? vcpus : 0,
            .emulator = config_.cpu.emulator.mode == Pinning::Mode::kAuto,
            .memory = memory};
  }

  bool is_there(int node, const std::string& path) {
    const NumaNode* found = facts_.find_node(node);
    if (found != nullptr && facts_.allowed_nodes.contains(node)) return true;
    problem(path, ExitStatus::kHost,
            found == nullptr ? fmt::format("this host has no NUMA node {}", node)
                             : fmt::format("memory of node {} is not allowed here", node),
            fmt::format("\"node\": {}", facts_.nodes.empty() ? 0 : facts_.nodes.front().id));
    return false;
  }

  // For a VM that lies on one node, or is spread over several because none is large enough.
  void choose_node() {
    if (facts_.nodes.empty()) return;
    if (config_.memory.node_mode == Pinning::Mode::kList) {
      if (!is_there(config_.memory.node, "memory.node")) return;
      node_ = config_.memory.node;
      result_.reasons.push_back("the config asks for it");
      return;
    }
    if (config_.memory.node_mode != Pinning::Mode::kAuto && !pins_by_itself()) return;
    if (config_.cpu.pin.mode == Pinning::Mode::kList) {
      follow_pinned_node();
      return;
    }
    const NodeShare share = share_of(vcpu_count(), config_.memory.size);
    // Several nodes in turn, or one first, is another way to spread.
    if (config_.memory.policy == MemoryPolicy::kBind && spread(share)) return;
    node_ = nodes_.best(share);
    if (!node_) return;
    result_.reasons.push_back(nodes_.why(*node_));
    passed_nodes_ = nodes_.passed_over({*node_}, share);
  }

  // A VM that is larger than any node mirrors the host's shape. One that only finds all nodes
  // taken does not: its user is told who has them.
  bool spread(const NodeShare& share) {
    const bool may = pins_by_itself() && config_.memory.node_mode == Pinning::Mode::kAuto;
    if (!may || std::any_of(facts_.nodes.begin(), facts_.nodes.end(), [&](const NumaNode& node) {
          return nodes_.could_hold(node, share, unheld_);
        })) {
      return false;
    }
    const auto parts = nodes_.spread(share);
    if (parts.empty()) return false;
    int next = 0;
    std::set<int> chosen;
    for (const auto& [node, part] : parts) {
      GuestCell cell;
      cell.memory = part.memory;
      cell.node = node;
      cell.bound = true;
      for (std::size_t i = 0; i < part.vcpus; ++i) cell.vcpus.insert(next++);
      for (const auto& [other, ignored] : parts) {
        const NumaNode* host = facts_.find_node(node);
        const auto distance = host->distances.find(other);
        if (distance != host->distances.end()) cell.distances.push_back(distance->second);
      }
      if (cell.distances.size() != parts.size()) cell.distances.clear();
      result_.cells.push_back(std::move(cell));
      chosen.insert(node);
    }
    result_.reasons.push_back(fmt::format("no node is large enough, so the guest has {} as well",
                                          counted(parts.size(), "node")));
    for (const int node : chosen) {
      result_.reasons.push_back(fmt::format("node {}: {}", node, nodes_.why(node)));
    }
    passed_nodes_ = nodes_.passed_over(chosen, parts.front().second);
    return true;
  }

  // The cells of the config, each on its node or on the best that no other cell has.
  void place_on_cells() {
    std::set<int> used;
    for (const NumaCellConfig& cell : config_.numa) {
      if (cell.node) used.insert(*cell.node);
    }
    const bool choose = pins_by_itself() || config_.memory.node_mode == Pinning::Mode::kAuto;
    for (std::size_t i = 0; i < config_.numa.size(); ++i) {
      const NumaCellConfig& wanted = config_.numa[i];
      GuestCell cell{.vcpus = CpuSet::parse(wanted.vcpus),
                     .memory = wanted.memory,
                     .node = {},
                     .bound = wanted.node || config_.memory.node_mode != Pinning::Mode::kNone,
                     .distances = wanted.distances,
                     .pxb = wanted.pxb};
      if (wanted.node) {
        if (is_there(*wanted.node, fmt::format("numa[{}].node", i))) cell.node = wanted.node;
      } else if (choose) {
        cell.node = nodes_.best(share_of(cell.vcpus.size(), cell.memory), used);
        if (cell.node) {
          used.insert(*cell.node);
          result_.reasons.push_back(
              fmt::format("guest node {} on node {}: {}", i, *cell.node, nodes_.why(*cell.node)));
        }
      }
      result_.cells.push_back(std::move(cell));
    }
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

  CpuSet cpus_of(std::optional<int> node) const {
    if (!node) return facts_.online();
    const NumaNode* found = facts_.find_node(*node);
    // Firmware and containers without NUMA give a node without CPUs: no wall then.
    return found == nullptr || found->cpus.empty() ? facts_.online() : found->cpus;
  }

  // The CPUs of the nodes where the VM lies.
  CpuSet home() const {
    if (result_.cells.empty()) return cpus_of(node_);
    CpuSet set;
    for (const GuestCell& cell : result_.cells) set = set | cpus_of(cell.node);
    return set;
  }

  // Gives these vCPUs, by index, CPUs of the node.
  void place_vcpus(const CpuSet& vcpus, std::optional<int> node, const std::string& path) {
    if (config_.cpu.pin.mode == Pinning::Mode::kNone) return;
    const std::vector<int> indices = vcpus.cpus();
    if (config_.cpu.pin.mode == Pinning::Mode::kList) {
      for (const int index : indices) {
        const auto i = static_cast<std::size_t>(index);
        if (i >= config_.cpu.pin.cpulists.size()) continue;
        result_.vcpus[i] = CpuSet::parse(config_.cpu.pin.cpulists[i]);
        check_list(result_.vcpus[i], fmt::format("cpu.pin[{}]", i));
        vcpu_cpus_ = vcpu_cpus_ | result_.vcpus[i];
      }
      return;
    }
    std::vector<int> cpus = cpus_.for_vcpus(cpus_of(node), indices.size());
    if (cpus.size() < indices.size()) {
      return refuse_for_want_of_cpus(indices.size(), cpus.size(), node, path);
    }
    cpus.resize(indices.size());
    std::sort(cpus.begin(), cpus.end());
    CpuSet taken;
    for (std::size_t i = 0; i < indices.size(); ++i) {
      result_.vcpus[static_cast<std::size_t>(indices[i])].insert(cpus[i]);
      taken.insert(cpus[i]);
    }
    vcpu_cpus_ = vcpu_cpus_ | taken;
    cpus_.take(taken);
  }

  void explain_cpus() {
    if (pins_by_itself() && !vcpu_cpus_.empty()) {
      const CpuSet noisy = vcpu_cpus_ - facts_.isolated;
      if (vcpu_cpus_.contains(0)) {
        result_.reasons.push_back("CPU 0, which serves the host, is used: nothing else is there");
      } else if (!(cpus_.housekeeping() & home()).empty()) {
        result_.passed_over.push_back("CPU 0 (housekeeping)");
      }
      if (!facts_.isolated.empty() && !noisy.empty()) {
        result_.reasons.push_back(
            fmt::format("CPUs {} are not isolated: no more isolated ones are "
                        "free there",
                        noisy.to_string()));
      }
    }
    result_.passed_over.insert(result_.passed_over.begin(), passed_nodes_.begin(),
                               passed_nodes_.end());
  }

  void refuse_for_want_of_cpus(std::size_t wanted, std::size_t found, std::optional<int> node,
                               const std::string& path) {
    const std::string unit = config_.cpu.smt == SmtPolicy::kUse ? "CPU" : "whole core";
    const std::string where =
        node && facts_.nodes.size() > 1 ? fmt::format("node {}", *node) : "this host";
    const CpuSet held_here = cpus_.held() & cpus_of(node);
    if (!held_here.empty()) {
      const std::string holder = cpus_.holder_of(held_here);
      problem(path, ExitStatus::kBusy,
              fmt::format("{} are needed, {} has {} left; CPUs {} are held by VM \"{}\"",
                          counted(wanted, unit), where, found, held_here.to_string(), holder),
              fmt::format("vmrig stop {}", holder));
      return;
    }
    problem(path, ExitStatus::kHost,
            fmt::format("{} are needed, one a vCPU; {} has {} (CPUs {})", counted(wanted, unit),
                        where, found, (cpus_.usable() & cpus_of(node)).to_string()),
            found > 0 && wanted == vcpu_count()
                ? fmt::format("--set cpu.vcpus={}, or --set cpu.pin=none", found)
                : "--set cpu.pin=none");
  }

  // A list of the user's own: every CPU of it has to be there, allowed and free.
  void check_list(const CpuSet& cpus, const std::string& path) {
    const CpuSet absent = cpus - facts_.present - facts_.online();
    const CpuSet offline = cpus - absent - facts_.online();
    const CpuSet forbidden = cpus - absent - offline - facts_.allowed;
    const CpuSet held = cpus & cpus_.held();
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
      const std::string holder = cpus_.holder_of(held);
      problem(path, ExitStatus::kBusy,
              fmt::format("CPU {} is held by VM \"{}\"", held.to_string(), holder),
              fmt::format("vmrig stop {}", holder));
    }
  }

  void place_emulator() {
    const Pinning& emulator = config_.cpu.emulator;
    if (emulator.mode == Pinning::Mode::kNone) return;
    if (emulator.mode == Pinning::Mode::kList) {
      result_.emulator = CpuSet::parse(emulator.cpulists.front());
      check_list(result_.emulator, "cpu.emulator");
      return;
    }
    result_.emulator = cpus_.for_emulator(vcpu_cpus_, home());
    if (!result_.emulator.empty()) return;
    // Better on another node than on a vCPU's CPU.
    result_.emulator = cpus_.for_emulator(vcpu_cpus_, facts_.online());
    if (!result_.emulator.empty()) {
      result_.reasons.push_back("the emulator is on another node: no CPU is left beside the vCPUs");
      return;
    }
    problem("cpu.emulator", ExitStatus::kHost,
            fmt::format("no CPU is left for QEMU's other threads: the vCPUs have {}",
                        vcpu_cpus_.to_string()),
            fmt::format("--set cpu.vcpus={}, or --set cpu.emulator={}",
                        std::max<std::size_t>(1, vcpu_count() - 1),
                        vcpu_cpus_.empty() ? 0 : vcpu_cpus_.first()));
  }

  // QEMU's main thread stands on the first CPU of the emulator's, as the kernel does not balance
  // isolated ones: the iothreads begin with the next, and vhost workers go on after them.
  void place_iothreads() {
    const std::vector<int> emulator = result_.emulator.cpus();
    std::size_t& next = next_emulator_;
    CpuSet last;
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
        cpus = cpus_.spare(vcpu_cpus_, home());
        if (cpus.empty()) cpus = last;  // shared, when there is no other
        cpus_.take(cpus);
        last = cpus;
        if (cpus.empty()) {
          problem(fmt::format("iothreads[{}].pin", i), ExitStatus::kHost,
                  "no CPU is left for the iothread", R"("pin": "none")");
        }
      }
    }
  }

  void place_vhost() {
    if (result_.emulator.empty()) return;
    if (!facts_.isolated.includes(result_.emulator)) {
      result_.vhost = {result_.emulator};
      return;
    }
    const std::vector<int> emulator = result_.emulator.cpus();
    for (std::size_t i = 0; i < emulator.size(); ++i) {
      result_.vhost.push_back(CpuSet{emulator[next_emulator_++ % emulator.size()]});
    }
  }

  const VmConfig& config_;
  const HostFacts& facts_;
  std::vector<Diagnostic>& findings_;
  const std::vector<Lease> no_leases_;
  FreeCpus cpus_;
  FreeCpus unheld_;
  NodeChoice nodes_;
  CpuSet vcpu_cpus_;
  std::size_t next_emulator_ = 1;  // of its CPUs, for a thread that gets one of its own
  std::optional<int> node_;
  std::vector<std::string> passed_nodes_;
  ThreadPlacement result_;
};

}  // namespace

ThreadPlacement place_threads(const PlanInput& input, HugepageSize hugepages,
                              const std::vector<NodeWish>& wishes,
                              std::vector<Diagnostic>& findings) {
  return Placer(input, hugepages, wishes, findings).place();
}

}  // namespace vmrig
