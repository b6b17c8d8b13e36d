// From what a look at VMs has told to the samples of a metrics page.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "launcher/metrics/metric_page.hpp"
#include "launcher/metrics/vm_reading.hpp"

namespace vmrig {

// All samples. `now_s` is the time of day, in seconds since the epoch.
MetricPage metrics_of(const std::vector<VmReading>& vms, const HostReading& host,
                      std::int64_t now_s);

// Its parts, each for one VM.
void add_record_metrics(const VmReading& vm, MetricPage& page);
void add_kernel_metrics(const VmReading& vm, MetricPage& page);
void add_qemu_metrics(const VmReading& vm, std::int64_t now_s, MetricPage& page);
void add_kvm_metrics(const VmReading& vm, MetricPage& page);

// How often each vCPU has left its guest so far, by index; empty where KVM or QEMU does not tell.
std::map<std::string, double> kvm_exits(const QemuReading& told);

}  // namespace vmrig
