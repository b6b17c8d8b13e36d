#include "launcher/verify.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <string_view>

#include "launcher/stray_threads.hpp"
#include "launcher/verify_privileges.hpp"

namespace vmrig {
namespace {

constexpr double kMostWaiting = 0.05;  // of the window: what a vCPU may wait for its CPU
constexpr std::size_t kMostNamed = 4;  // tasks in a row

std::string cpus_text(const CpuSet& cpus) {
  return fmt::format("{} {}", cpus.size() == 1 ? "CPU" : "CPUs", cpus.to_string());
}

std::string percent(double share) { return fmt::format("{:.1f} %", share * 100); }

class Verifier {
 public:
  Verifier(const VmState& state, const VmConfig& config, const VmMeasurement& measured)
      : state_(state), config_(config), measured_(measured) {}

  std::vector<VerifyRow> rows() {
    for (const VmThread& thread : state_.threads) {
      if (thread.role == "vcpu") check_thread(thread);
    }
    check_emulator();
    for (const VmThread& thread : state_.threads) {
      if (thread.role == "iothread" || thread.role == "vhost") check_thread(thread);
    }
    check_scheduler();
    if (measured_.limits) check_limits(*measured_.limits);
    check_privileges();
    check_memory();
    check_lock();
    for (const VfioMeasurement& vfio : measured_.vfio) check_vfio(vfio);
    check_waits();
    check_others();
    return std::move(rows_);
  }

 private:
  void add(std::string subject, std::string expected, std::string found, bool pass) {
    rows_.push_back({std::move(subject), std::move(expected), std::move(found), pass});
  }

  const ThreadMeasurement* find(pid_t tid) const {
    const auto found =
        std::find_if(measured_.threads.begin(), measured_.threads.end(),
                     [tid](const ThreadMeasurement& thread) { return thread.use.tid == tid; });
    return found == measured_.threads.end() ? nullptr : &*found;
  }

  static std::string name_of(const VmThread& thread) {
    return thread.id.empty() ? thread.role : fmt::format("{} {}", thread.role, thread.id);
  }

  void check_thread(const VmThread& thread) {
    const std::string expected = thread.cpus.empty() ? "anywhere" : cpus_text(thread.cpus);
    const ThreadMeasurement* found = find(thread.tid);
    if (found == nullptr) {
      add(name_of(thread), expected, fmt::format("thread {} is gone", thread.tid), false);
      return;
    }
    // Where it ran last was long ago, perhaps, and before it was pinned.
    const bool has_run = found->run_ns > 0;
    const bool pass =
        thread.cpus.empty() ||
        (found->allowed == thread.cpus && (!has_run || thread.cpus.contains(found->use.last_cpu)));
    add(name_of(thread), expected,
        cpus_text(found->allowed) +
            (has_run ? fmt::format(", last on {}", found->use.last_cpu) : ", idle"),
        pass);
  }

  // All of QEMU's threads that have no other role: its main loop, and workers that come and go.
  void check_emulator() {
    const CpuSet wanted = worker_cpus(state_);
    std::set<pid_t> others;
    for (const VmThread& thread : state_.threads) {
      if (thread.role != "emulator") others.insert(thread.tid);
    }
    CpuSet allowed;
    std::string strays;
    std::size_t count = 0;
    for (const ThreadMeasurement& thread : measured_.threads) {
      if (thread.use.pid != state_.qemu.pid || others.contains(thread.use.tid)) continue;
      ++count;
      allowed = allowed | thread.allowed;
      if (wanted.empty() || wanted.includes(thread.allowed)) continue;
      strays += fmt::format(", {} ({}) on {}", thread.use.tid, thread.use.name,
                            thread.allowed.to_string());
    }
    const std::string found = fmt::format("{}, {} {}{}", cpus_text(allowed), count,
                                          count == 1 ? "thread" : "threads", strays);
    add("emulator", wanted.empty() ? "anywhere" : cpus_text(wanted), found,
        count > 0 && strays.empty());
  }

  void check_scheduler() {
    std::map<pid_t, std::string> wanted;                 // of those with a role
    std::map<std::string, std::set<std::string>> roles;  // by how they are to be scheduled
    for (const VmThread& thread : state_.threads) {
      wanted[thread.tid] = to_string(thread.scheduler);
      if (thread.scheduler.is_realtime()) roles[wanted[thread.tid]].insert(thread.role);
    }
    std::string expected;
    for (const auto& [scheduling, who] : roles) {
      expected += fmt::format("{} {}, ", fmt::join(who, " and "), scheduling);
    }
    const std::string other = policy_name(0);
    expected += (roles.empty() ? "" : "the rest ") + other;
    std::string strays;
    for (const ThreadMeasurement& thread : measured_.threads) {
      const auto found = wanted.find(thread.use.tid);
      const std::string now = scheduling_text(thread.use);
      if (now == (found == wanted.end() ? other : found->second)) continue;
      strays += fmt::format("{}{} ({}) {}", strays.empty() ? "" : ", ", thread.use.tid,
                            thread.use.name, now);
    }
    const bool pass = strays.empty();
    add("scheduler", expected, pass ? expected : strays, pass);
  }

  void check_limits(const VmLimits& limits) {
    std::string expected = "QEMU in " + limits.group;
    std::string found = limits.has_qemu ? expected : "QEMU in another cgroup";
    for (const LimitReading& reading : limits.readings) {
      expected += fmt::format(", {} {}", reading.file, reading.wanted);
      if (reading.found == reading.wanted) continue;
      found += fmt::format(", {} {}", reading.file,
                           reading.found.empty() ? "is not there" : reading.found);
    }
    add("limits", expected, limits.as_wanted() ? "as expected" : found, limits.as_wanted());
  }

  // A VM of a version before users has none to compare with.
  void check_privileges() {
    if (!state_.user || !measured_.rights) return;
    PrivilegesVerdict verdict =
        judge_privileges(*state_.user, config_.security.sandbox, *measured_.rights);
    add("privileges", std::move(verdict.expected), std::move(verdict.found), verdict.pass);
  }

  struct Backing {
    std::string subject;
    Bytes size;
    Bytes page_size;            // 0: ordinary pages
    CpuSet nodes;               // empty: any
    bool is_populated = false;  // from the start
  };

  // Preferred nodes are no promise.
  CpuSet nodes_of_policy(std::optional<int> bound) const {
    const MemoryPolicy policy = config_.memory.policy;
    if (policy == MemoryPolicy::kInterleave) return state_.placement.memory_nodes;
    return bound && policy == MemoryPolicy::kBind ? CpuSet{*bound} : CpuSet();
  }

  std::vector<Backing> backings() const {
    const MemoryConfig& memory = config_.memory;
    const Bytes pages = page_size_of(memory.hugepages.value_or(HugepageSize::kNone));
    std::vector<Backing> list;
    const std::vector<GuestCell>& cells = state_.placement.cells;
    for (std::size_t i = 0; i < cells.size(); ++i) {
      list.push_back({.subject = fmt::format("memory of guest node {}", i),
                      .size = cells[i].memory,
                      .page_size = pages,
                      .nodes = nodes_of_policy(cells[i].memory_node()),
                      .is_populated = memory.prealloc});
    }
    if (cells.empty()) {
      list.push_back({.subject = "memory",
                      .size = memory.size,
                      .page_size = pages,
                      .nodes = nodes_of_policy(state_.placement.node),
                      .is_populated = memory.prealloc});
    }
    for (const MemoryDeviceConfig& device : memory.devices) {
      const auto own = device.hugepages ? page_size_of(*device.hugepages) : pages;
      list.push_back(
          {.subject = "memory " + device.id,
           .size = device.size,
           .page_size = own,
           .nodes = device.node ? CpuSet{*device.node} : nodes_of_policy(state_.placement.node),
           .is_populated = false});
    }
    return list;
  }

  // The guest's memory is known by its size: a mapping of exactly that, of the wanted pages first.
  std::vector<const MemoryMapping*> match(const std::vector<Backing>& backings) const {
    std::vector<const MemoryMapping*> found;
    std::set<std::uint64_t> taken;
    for (const Backing& backing : backings) {
      const MemoryMapping* best = nullptr;
      int best_score = -1;
      for (const MemoryMapping& mapping : measured_.memory) {
        if (mapping.size != backing.size || taken.contains(mapping.begin)) continue;
        // Guest nodes are often of one size: the host's node tells them apart.
        const int score = (mapping.is_hugetlb == (backing.page_size.value != 0) ? 2 : 0) +
                          (backing.nodes.empty() || is_on(mapping, backing.nodes) ? 1 : 0);
        if (score <= best_score) continue;
        best = &mapping;
        best_score = score;
      }
      if (best != nullptr) taken.insert(best->begin);
      found.push_back(best);
    }
    return found;
  }

  static std::string place_of(const MemoryMapping& mapping) {
    std::string text;
    for (const auto& [node, bytes] : mapping.nodes) {
      text += fmt::format("{}{} on node {}", text.empty() ? "" : ", ", to_string(bytes), node);
    }
    return text.empty() ? to_string(mapping.populated) : text;
  }

  static bool is_on(const MemoryMapping& mapping, const CpuSet& nodes) {
    return std::all_of(mapping.nodes.begin(), mapping.nodes.end(),
                       [&nodes](const auto& entry) { return nodes.contains(entry.first); });
  }

  void check_memory() {
    backings_ = backings();
    mappings_ = match(backings_);
    for (std::size_t i = 0; i < backings_.size(); ++i) {
      const Backing& backing = backings_[i];
      const std::string pages =
          backing.page_size.value == 0 ? "ordinary" : to_string(backing.page_size);
      std::string expected = fmt::format("{}, {} pages", to_string(backing.size), pages);
      if (backing.is_populated) expected += ", populated";
      if (!backing.nodes.empty()) {
        expected += fmt::format(", on node{} {}", backing.nodes.size() > 1 ? "s" : "",
                                backing.nodes.to_string());
      }
      const MemoryMapping* mapping = mappings_[i];
      if (mapping == nullptr) {
        add(backing.subject, expected, "QEMU shows no mapping of this size", false);
        continue;
      }
      const bool right_pages = backing.page_size.value == 0
                                   ? !mapping->is_hugetlb
                                   : mapping->page_size == backing.page_size;
      const bool right_node = backing.nodes.empty() || is_on(*mapping, backing.nodes);
      const bool enough = !backing.is_populated || mapping->populated.value >= backing.size.value;
      add(backing.subject, expected,
          fmt::format("{} pages, {}",
                      mapping->is_hugetlb ? to_string(mapping->page_size) : "ordinary",
                      place_of(*mapping)),
          right_pages && right_node && enough);
    }
  }

  // Hugepages are never paged out: locked by nature, and not counted in VmLck.
  void check_lock() {
    if (!config_.memory.lock) return;
    for (std::size_t i = 0; i < backings_.size(); ++i) {
      const MemoryMapping* mapping = mappings_[i];
      if (mapping == nullptr) continue;
      const std::string subject = "lock of " + backings_[i].subject;
      if (mapping->is_hugetlb) {
        add(subject, "in RAM", "hugepages are locked by nature", true);
      } else {
        add(subject, "locked",
            fmt::format("{}, VmLck {}", mapping->is_locked ? "locked" : "not locked",
                        to_string(measured_.locked)),
            mapping->is_locked);
      }
    }
  }

  void check_vfio(const VfioMeasurement& vfio) {
    std::string found = vfio.driver.empty() ? "no driver" : vfio.driver;
    if (vfio.group) {
      found += fmt::format(", group {} {}", *vfio.group, vfio.is_open ? "open" : "not open");
    }
    found += vfio.interrupts.empty() ? ", no interrupts"
                                     : ", interrupts on " + cpus_text(vfio.interrupts);
    add("vfio " + vfio.id, "a VFIO driver, its group open in QEMU", found,
        vfio.driver.find("vfio") != std::string::npos && vfio.is_open);
  }

  void check_waits() {
    const auto window = static_cast<double>(measured_.window.count());
    for (const VmThread& thread : state_.threads) {
      const ThreadMeasurement* found = thread.role == "vcpu" ? find(thread.tid) : nullptr;
      if (found == nullptr || window <= 0) continue;
      const double share = static_cast<double>(found->wait_ns) / window;
      const bool is_promised = !thread.cpus.empty() && config_.cpu.exclusive;
      add(name_of(thread) + " waits",
          is_promised ? fmt::format("at most {}", percent(kMostWaiting)) : "any",
          fmt::format("{} of {:.1f} s, {} involuntary switches", percent(share), window / 1e9,
                      found->involuntary),
          !is_promised || share <= kMostWaiting);
    }
  }

  void check_others() {
    CpuSet cpus;
    for (const VmThread& thread : state_.threads) {
      if (thread.role == "vcpu") cpus = cpus | thread.cpus;
    }
    if (cpus.empty()) return;
    std::string found;
    for (std::size_t i = 0; i < measured_.others.size(); ++i) {
      const OtherTask& task = measured_.others[i];
      if (i == kMostNamed) {
        found += fmt::format(", {} more", measured_.others.size() - kMostNamed);
        break;
      }
      found += fmt::format("{}{} (pid {}) {} on CPU {}", i == 0 ? "" : ", ", task.name, task.pid,
                           percent(task.share), task.cpu);
    }
    const bool is_promised = config_.cpu.exclusive;
    add("others on " + cpus_text(cpus), is_promised ? "none" : "any",
        found.empty() ? "none" : found, !is_promised || found.empty());
  }

  const VmState& state_;
  const VmConfig& config_;
  const VmMeasurement& measured_;
  std::vector<Backing> backings_;
  std::vector<const MemoryMapping*> mappings_;  // of the backings; nullptr: not found
  std::vector<VerifyRow> rows_;
};

}  // namespace

std::vector<VerifyRow> verify(const VmState& state, const VmConfig& config,
                              const VmMeasurement& measured) {
  return Verifier(state, config, measured).rows();
}

}  // namespace vmrig
