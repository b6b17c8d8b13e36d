#include "launcher/metrics/vm_metrics.hpp"

namespace vmrig {
namespace {

const MetricFamily kBuild{"vmrig_build_info", MetricType::kGauge,
                          "The vmrig that has made this page; always 1."};
const MetricFamily kVms{"vmrig_vms", MetricType::kGauge, "VMs on this page."};
const MetricFamily kDuration{"vmrig_scrape_duration_seconds", MetricType::kGauge,
                             "Time that it took to look at the VMs."};
const MetricFamily kHostSteal{"vmrig_host_cpu_steal_seconds_total", MetricType::kCounter,
                              "Time that the hypervisor below this host has taken from a CPU that "
                              "a VM is pinned to."};

}  // namespace

MetricPage metrics_of(const std::vector<VmReading>& vms, const HostReading& host,
                      std::int64_t now_s) {
  MetricPage page;
  page.add(kBuild, {{"version", VMRIG_VERSION}}, 1);
  page.add(kVms, {}, static_cast<double>(vms.size()));
  page.add(kDuration, {}, std::chrono::duration<double>(host.duration).count());
  for (const VmReading& vm : vms) {
    add_record_metrics(vm, page);
    add_kernel_metrics(vm, page);
    add_qemu_metrics(vm, now_s, page);
    add_kvm_metrics(vm, page);
  }
  CpuSet pinned;
  for (const VmReading& vm : vms) {
    for (const VmThreadUse& thread : vm.kernel.threads) pinned = pinned | thread.pinned;
  }
  for (const auto& [cpu, seconds] : host.steal_s) {
    if (pinned.contains(cpu)) page.add(kHostSteal, {{"cpu", std::to_string(cpu)}}, seconds);
  }
  return page;
}

}  // namespace vmrig
