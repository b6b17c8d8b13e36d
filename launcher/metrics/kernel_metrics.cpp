// A VM's threads, memory, NICs and cgroup in the kernel's numbers.
#include <fmt/format.h>

#include <string>
#include <utility>

#include "launcher/metrics/vm_metrics.hpp"

namespace vmrig {
namespace {

constexpr double kSecondNs = 1e9;
constexpr double kSecondUs = 1e6;

const MetricFamily kRun{"vmrig_thread_run_seconds_total", MetricType::kCounter,
                        "Time that the thread was on a CPU."};
const MetricFamily kWait{"vmrig_thread_wait_seconds_total", MetricType::kCounter,
                         "Time that the thread was ready to run and had to wait for a CPU."};
const MetricFamily kSwitches{"vmrig_thread_context_switches_total", MetricType::kCounter,
                             "Times that the thread left its CPU: voluntary, or involuntary "
                             "because another took it."};
const MetricFamily kSteal{"vmrig_vcpu_steal_seconds_total", MetricType::kCounter,
                          "Time that KVM tells the guest as stolen from this vCPU."};
const MetricFamily kQemuCpu{"vmrig_qemu_cpu_seconds_total", MetricType::kCounter,
                            "CPU time of QEMU with all its threads; a guest's is user time."};
const MetricFamily kQemuResident{"vmrig_qemu_resident_bytes", MetricType::kGauge,
                                 "Memory of the host that QEMU has, guest memory included."};
const MetricFamily kQemuSwapped{"vmrig_qemu_swapped_bytes", MetricType::kGauge,
                                "Memory of QEMU that is swapped out."};
const MetricFamily kQemuLocked{"vmrig_qemu_locked_bytes", MetricType::kGauge,
                               "Memory of QEMU that is locked; hugepages don't count."};
const MetricFamily kHugepages{"vmrig_memory_hugepages", MetricType::kGauge,
                              "Hugepages that the VM has, by the host's NUMA node and their size."};
const MetricFamily kSupervisorCpu{"vmrig_supervisor_cpu_seconds_total", MetricType::kCounter,
                                  "CPU time of the VM's supervisor."};
const MetricFamily kSupervisorResident{"vmrig_supervisor_resident_bytes", MetricType::kGauge,
                                       "Memory of the VM's supervisor, shared code included."};
const MetricFamily kGroupMemory{"vmrig_cgroup_memory_bytes", MetricType::kGauge,
                                "Memory that the VM's cgroup is charged for."};
const MetricFamily kGroupTasks{"vmrig_cgroup_tasks", MetricType::kGauge,
                               "Tasks in the VM's cgroup."};
const MetricFamily kGroupCpu{"vmrig_cgroup_cpu_seconds_total", MetricType::kCounter,
                             "CPU time of the VM's cgroup."};
const MetricFamily kGroupThrottled{"vmrig_cgroup_cpu_throttled_seconds_total", MetricType::kCounter,
                                   "Time that limits.cpu_max kept the VM from running."};

struct Way {
  const char* name;
  const char* verb;
};

void add_traffic(const std::string& vm, const std::string& nic, const Way& way,
                 const TrafficCounters& counters, MetricPage& page) {
  const auto add = [&](const char* unit, const std::string& what, std::uint64_t value) {
    page.add({.name = fmt::format("vmrig_nic_{}_{}_total", way.name, unit),
              .type = MetricType::kCounter,
              .help = fmt::format("{} the guest has {}.", what, way.verb)},
             {{"vm", vm}, {"nic", nic}}, static_cast<double>(value));
  };
  add("bytes", "Bytes that", counters.bytes);
  add("packets", "Packets that", counters.packets);
  add("errors", "Packets with an error, of those that", counters.errors);
  add("drops", "Packets that were dropped, of those that", counters.drops);
}

void add_threads(const std::string& vm, const VmReading& reading, MetricPage& page) {
  for (const VmThreadUse& thread : reading.kernel.threads) {
    if (thread.role == kOtherThreads) continue;  // they come and go
    const MetricLabels labels = {{"vm", vm}, {"role", thread.role}, {"id", thread.id}};
    const double wait_s = static_cast<double>(thread.use.wait_ns) / kSecondNs;
    page.add(kRun, labels, static_cast<double>(thread.use.run_ns) / kSecondNs);
    page.add(kWait, labels, wait_s);
    for (const auto& [kind, count] : {std::pair("voluntary", thread.use.voluntary),
                                      std::pair("involuntary", thread.use.involuntary)}) {
      MetricLabels with_kind = labels;
      with_kind.emplace_back("kind", kind);
      page.add(kSwitches, std::move(with_kind), static_cast<double>(count));
    }
    // Source: linux arch/x86/kvm/x86.c record_steal_time: the run-queue delay of the thread.
    if (thread.role == "vcpu" && reading.entry.state->accel == "kvm") {
      page.add(kSteal, {{"vm", vm}, {"vcpu", thread.id}}, wait_s);
    }
  }
}

void add_memory(const std::string& vm, const KernelReading& kernel, MetricPage& page) {
  const ProcessUse& qemu = *kernel.qemu;
  for (const auto& [mode, time] :
       {std::pair("user", qemu.user), std::pair("system", qemu.system)}) {
    page.add(kQemuCpu, {{"vm", vm}, {"mode", mode}}, static_cast<double>(time.count()) / kSecondNs);
  }
  for (const auto& [kind, bytes] :
       {std::pair("anonymous", qemu.anonymous), std::pair("file", qemu.file),
        std::pair("shared", qemu.shared), std::pair("hugetlb", qemu.hugetlb)}) {
    page.add(kQemuResident, {{"vm", vm}, {"kind", kind}}, static_cast<double>(bytes.value));
  }
  page.add(kQemuSwapped, {{"vm", vm}}, static_cast<double>(qemu.swapped.value));
  page.add(kQemuLocked, {{"vm", vm}}, static_cast<double>(qemu.locked.value));
  if (!kernel.hugetlb) return;
  for (const auto& [place, pages] : *kernel.hugetlb) {
    page.add(
        kHugepages,
        {{"vm", vm}, {"node", std::to_string(place.first)}, {"page_size", to_string(place.second)}},
        static_cast<double>(pages));
  }
}

void add_group(const std::string& vm, const KernelReading& kernel, MetricPage& page) {
  const VmLimits& limits = *kernel.limits;
  if (limits.memory) {
    page.add(kGroupMemory, {{"vm", vm}}, static_cast<double>(limits.memory->value));
  }
  if (limits.tasks) page.add(kGroupTasks, {{"vm", vm}}, static_cast<double>(*limits.tasks));
  if (limits.cpu_us) {
    page.add(kGroupCpu, {{"vm", vm}}, static_cast<double>(*limits.cpu_us) / kSecondUs);
  }
  if (kernel.throttled_s) page.add(kGroupThrottled, {{"vm", vm}}, *kernel.throttled_s);
}

}  // namespace

void add_kernel_metrics(const VmReading& vm, MetricPage& page) {
  const std::string& name = vm.entry.name;
  const KernelReading& kernel = vm.kernel;
  add_threads(name, vm, page);
  if (kernel.qemu) add_memory(name, kernel, page);
  if (kernel.supervisor) {
    const auto cpu = kernel.supervisor->user + kernel.supervisor->system;
    page.add(kSupervisorCpu, {{"vm", name}}, static_cast<double>(cpu.count()) / kSecondNs);
    page.add(kSupervisorResident, {{"vm", name}},
             static_cast<double>(kernel.supervisor->resident().value));
  }
  for (const auto& [id, counters] : kernel.nics) {
    add_traffic(name, id, {"receive", "received"}, counters.received, page);
    add_traffic(name, id, {"transmit", "sent"}, counters.sent, page);
  }
  if (kernel.limits) add_group(name, kernel, page);
}

}  // namespace vmrig
