// From what a look at VMs has told to the samples of a metrics page.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "launcher/metrics/metric_page.hpp"
#include "launcher/metrics/vm_reading.hpp"

namespace vmrig {

// All samples. `now` is the wall clock's time.
MetricPage metrics_of(const std::vector<VmReading>& vms, const HostReading& host,
                      std::chrono::system_clock::time_point now);

// Its parts, each for one VM.
void add_record_metrics(const VmReading& vm, MetricPage& page);
void add_kernel_metrics(const VmReading& vm, MetricPage& page);
void add_qemu_metrics(const VmReading& vm, std::chrono::system_clock::time_point now,
                      MetricPage& page);
void add_kvm_metrics(const VmReading& vm, MetricPage& page);

// How often each vCPU has left its guest so far, by index; empty where KVM or QEMU does not tell.
std::map<std::string, double> kvm_exits(const QemuReading& told);

}  // namespace vmrig
