#include "launcher/vm_measurement.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>
#include <string_view>
#include <thread>

#include "hostcfg/base/error.hpp"
#include "hostcfg/folder_reader.hpp"
#include "hostcfg/thread_affinity.hpp"
#include "launcher/vhost_threads.hpp"

namespace vmrig {
namespace {

constexpr Bytes kLeastMapping = Bytes::mib(1);
constexpr double kLeastShare = 0.01;  // of the window: what a task takes that is in the way
constexpr std::size_t kInterruptsLimit = std::size_t{16} << 20;

using Uses = std::map<pid_t, ThreadUse>;  // by tid

CpuSet vcpu_cpus(const VmState& state) {
  CpuSet cpus;
  for (const VmThread& thread : state.threads) {
    if (thread.role == "vcpu") cpus = cpus | thread.cpus;
  }
  return cpus;
}

Uses read_own(const FolderReader& root, const VmState& state) {
  Uses uses;
  for (const pid_t tid : threads_of(root, state.qemu.pid)) {
    if (auto use = read_thread_use(root, state.qemu.pid, tid)) uses[tid] = std::move(*use);
  }
  for (const VmThread& worker : vhost_threads(state.qemu.pid, {})) {
    if (uses.contains(worker.tid)) continue;
    if (auto use = read_thread_use(root, worker.tid, worker.tid)) {
      uses[worker.tid] = std::move(*use);
    }
  }
  return uses;
}

Uses read_others(const FolderReader& root, const VmState& state) {
  Uses uses;
  for (ThreadUse& use : read_all_thread_use(root)) {
    const bool is_own = use.pid == state.qemu.pid || use.pid == ::getpid();
    if (!is_own && !use.is_kernel_thread) uses[use.tid] = std::move(use);
  }
  return uses;
}

std::vector<ThreadMeasurement> threads_between(const Uses& before, const Uses& after) {
  std::vector<ThreadMeasurement> threads;
  for (const auto& [tid, use] : after) {
    ThreadMeasurement thread;
    thread.use = use;
    try {
      thread.allowed = thread_affinity(tid);
    } catch (const Error&) {
      continue;  // ended meanwhile
    }
    const auto earlier = before.find(tid);
    const ThreadUse none;
    const ThreadUse& first = earlier == before.end() ? none : earlier->second;
    thread.run_ns = use.run_ns - std::min(use.run_ns, first.run_ns);
    thread.wait_ns = use.wait_ns - std::min(use.wait_ns, first.wait_ns);
    thread.involuntary = use.involuntary - std::min(use.involuntary, first.involuntary);
    threads.push_back(std::move(thread));
  }
  return threads;
}

std::vector<OtherTask> others_between(const Uses& before, const Uses& after, const CpuSet& cpus,
                                      std::chrono::nanoseconds window) {
  std::vector<OtherTask> others;
  for (const auto& [tid, use] : after) {
    if (!cpus.contains(use.last_cpu)) continue;
    const auto earlier = before.find(tid);
    const std::uint64_t first = earlier == before.end() ? 0 : earlier->second.run_ns;
    const double share = static_cast<double>(use.run_ns - std::min(use.run_ns, first)) /
                         static_cast<double>(window.count());
    if (share < kLeastShare) continue;
    others.push_back({.pid = use.pid, .name = use.name, .cpu = use.last_cpu, .share = share});
  }
  return others;
}

// "  57:  0 4  IR-PCI-MSIX-0000:41:10.1  0-edge  vfio-msix[0](0000:41:10.1)"
CpuSet interrupt_cpus(const FolderReader& root, const PciAddress& device) {
  CpuSet cpus;
  const auto interrupts = root.text("proc/interrupts", kInterruptsLimit);
  const std::string wanted = fmt::format("({})", device.to_string());
  for (std::string_view rest = interrupts ? *interrupts : std::string_view(); !rest.empty();) {
    std::string_view line = take_line(rest);
    if (line.find("vfio") == std::string_view::npos ||
        line.find(wanted) == std::string_view::npos) {
      continue;
    }
    std::string_view number = take_word(line);
    if (number.ends_with(':')) number.remove_suffix(1);
    const auto on =
        root.cpulist(fmt::format("proc/irq/{}/effective_affinity_list", number).c_str());
    if (on) cpus = cpus | *on;
  }
  return cpus;
}

std::set<std::string> files_of(const FolderReader& root, pid_t pid) {
  std::set<std::string> files;
  const std::string folder = fmt::format("proc/{}/fd", pid);
  for (const std::string& name : root.names(folder.c_str())) {
    if (auto file = root.link(fmt::format("{}/{}", folder, name).c_str())) {
      files.insert(std::move(*file));
    }
  }
  return files;
}

std::string last_part(const std::optional<std::string>& path) {
  return path ? path->substr(path->rfind('/') + 1) : std::string();
}

std::vector<VfioMeasurement> measure_vfio(const FolderReader& root, const VmState& state) {
  std::vector<VfioMeasurement> list;
  if (state.passed.empty()) return list;
  const std::set<std::string> files = files_of(root, state.qemu.pid);
  for (const PassedRecord& passed : state.passed) {
    const std::string device = "sys/bus/pci/devices/" + passed.address.to_string();
    VfioMeasurement vfio;
    vfio.id = passed.id;
    vfio.driver = last_part(root.link((device + "/driver").c_str()));
    vfio.group = parse_number<int>(last_part(root.link((device + "/iommu_group").c_str())));
    vfio.is_open = vfio.group && files.contains(fmt::format("/dev/vfio/{}", *vfio.group));
    vfio.interrupts = interrupt_cpus(root, passed.address);
    list.push_back(std::move(vfio));
  }
  return list;
}

}  // namespace

VmMeasurement measure_vm(const VmState& state, std::chrono::nanoseconds window) {
  VmMeasurement measured;
  const auto root = FolderReader::open("/");
  if (!root) return measured;
  const CpuSet cpus = vcpu_cpus(state);
  const auto began = std::chrono::steady_clock::now();
  const Uses own = read_own(*root, state);
  const Uses others = read_others(*root, state);
  std::this_thread::sleep_for(window);
  const Uses own_after = read_own(*root, state);
  const Uses others_after = read_others(*root, state);
  measured.window = std::chrono::steady_clock::now() - began;
  measured.threads = threads_between(own, own_after);
  measured.others = others_between(others, others_after, cpus, measured.window);
  measured.memory = read_memory_mappings(*root, state.qemu.pid, kLeastMapping);
  measured.locked = read_locked(*root, state.qemu.pid);
  measured.vfio = measure_vfio(*root, state);
  measured.limits = read_vm_limits(state);
  measured.rights = read_process_rights(*root, state.qemu.pid);
  return measured;
}

}  // namespace vmrig
