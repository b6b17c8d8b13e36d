// What QEMU tells of a VM, by one connection and within a time.
#pragma once

#include <optional>

#include "launcher/metrics/vm_reading.hpp"
#include "launcher/state_dir.hpp"
#include "qmp/deadline.hpp"

namespace vmrig {

// KVM's statistics: QEMU 7.1 to 8.0 takes each vCPU out of its guest once to read them, which a
// guest that must not wait may notice. Source: qemu accel/kvm/kvm-all.c query_stats_vcpu.
enum class KvmStats { kSkip, kExitsOnly, kAll };

struct QemuQuestions {
  KvmStats kvm = KvmStats::kAll;
  bool devices = true;  // disks, memory and the balloon
};

// Asks by the supervisor, or QEMU itself where that is dead. nullopt when nobody answers until the
// deadline; never throws for what a VM does.
std::optional<QemuReading> ask_qemu(const VmFolder& folder, const VmEntry& entry,
                                    const QemuQuestions& questions, qmp::Deadline deadline);

}  // namespace vmrig
