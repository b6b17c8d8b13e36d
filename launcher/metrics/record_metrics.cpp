// What a VM's own record says: what it is, since when, and what it holds of the host.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "launcher/metrics/vm_metrics.hpp"

namespace vmrig {
namespace {

const MetricFamily kUp{"vmrig_up", MetricType::kGauge,
                       "1 when the VM's QEMU answered in time, 0 when it did not."};
const MetricFamily kInfo{"vmrig_vm_info", MetricType::kGauge, "What the VM runs by; always 1."};
const MetricFamily kState{"vmrig_vm_state", MetricType::kGauge,
                          "1 for the state that the VM is in, 0 for all others."};
const MetricFamily kStart{"vmrig_vm_start_time_seconds", MetricType::kGauge,
                          "When the VM was started, since the epoch."};
const MetricFamily kUptime{"vmrig_vm_uptime_seconds", MetricType::kGauge,
                           "Time since the VM's QEMU was started."};
const MetricFamily kRestarts{"vmrig_vm_restarts_total", MetricType::kCounter,
                             "Times that a QEMU was started in the place of one that had ended."};
const MetricFamily kVcpus{"vmrig_vm_vcpus", MetricType::kGauge, "vCPUs that the VM has now."};
const MetricFamily kLeaseCpus{"vmrig_lease_cpus", MetricType::kGauge,
                              "Host CPUs that the VM has claimed."};
const MetricFamily kLeasePages{"vmrig_lease_hugepages", MetricType::kGauge,
                               "Hugepages that the VM has claimed of the host's pools."};
const MetricFamily kLeasePci{"vmrig_lease_pci_devices", MetricType::kGauge,
                             "PCI devices of the host that the VM has claimed."};
const MetricFamily kHostChanges{"vmrig_lease_host_changes", MetricType::kGauge,
                                "Changes of the host that last as long as the VM."};
const MetricFamily kPendingUnplugs{"vmrig_pending_unplugs", MetricType::kGauge,
                                   "Devices that the guest has not given free yet."};

void add_state(const VmEntry& entry, MetricPage& page) {
  constexpr std::array<VmCondition, 8> kAll = {VmCondition::kStarting,   VmCondition::kRunning,
                                               VmCondition::kPaused,     VmCondition::kStopping,
                                               VmCondition::kRestarting, VmCondition::kCrashed,
                                               VmCondition::kOrphaned,   VmCondition::kStale};
  for (const VmCondition condition : kAll) {
    page.add(kState, {{"vm", entry.name}, {"state", std::string(condition_name(condition))}},
             condition == entry.condition ? 1 : 0);
  }
}

void add_lease(const std::string& vm, const VmState& state, MetricPage& page) {
  const Lease& claim = state.claim;
  const auto count = [](const auto& list) { return static_cast<double>(list.size()); };
  page.add(kLeaseCpus, {{"vm", vm}, {"kind", "exclusive"}}, count(claim.exclusive_cpus.cpus()));
  page.add(kLeaseCpus, {{"vm", vm}, {"kind", "shared"}}, count(claim.shared_cpus.cpus()));
  for (const PageClaim& pages : claim.pages) {
    page.add(kLeasePages,
             {{"vm", vm},
              {"node", pages.node < 0 ? "any" : std::to_string(pages.node)},
              {"page_size", to_string(pages.page_size)}},
             static_cast<double>(pages.pages));
  }
  page.add(kLeasePci, {{"vm", vm}}, count(claim.pci));
  page.add(kHostChanges, {{"vm", vm}}, count(state.host_changes));
  page.add(kPendingUnplugs, {{"vm", vm}}, count(state.pending_unplugs));
}

}  // namespace

void add_record_metrics(const VmReading& vm, MetricPage& page) {
  const VmEntry& entry = vm.entry;
  page.add(kUp, {{"vm", entry.name}}, vm.qemu ? 1 : 0);
  add_state(entry, page);
  if (!entry.state) return;
  const VmState& state = *entry.state;
  page.add(kInfo,
           {{"vm", entry.name},
            {"accel", state.accel},
            {"qemu_version", state.qemu_version},
            {"vmrig_version", state.vmrig_version}},
           1);
  if (!entry.living()) return;
  page.add(kStart, {{"vm", entry.name}}, static_cast<double>(state.started_at));
  if (vm.kernel.uptime) {
    page.add(kUptime, {{"vm", entry.name}}, static_cast<double>(vm.kernel.uptime->count()));
  }
  page.add(kRestarts, {{"vm", entry.name}}, state.restarts);
  page.add(kVcpus, {{"vm", entry.name}},
           static_cast<double>(
               std::count_if(state.threads.begin(), state.threads.end(),
                             [](const VmThread& thread) { return thread.role == "vcpu"; })));
  add_lease(entry.name, state, page);
}

}  // namespace vmrig
