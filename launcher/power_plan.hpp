// What QEMU is told to do by itself when the guest powers off, reboots, panics or hangs; the rest
// is the supervisor's. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "launcher/config/vm_config.hpp"
#include "launcher/plan.hpp"
#include "qmp/caps.hpp"

namespace vmrig {

// A QEMU that can't tell a power-off from a panic (5.2) is to stand still after both when it has to
// after one: the supervisor ends it after the other.
std::vector<QemuArgument> power_arguments(const VmConfig& config, const qmp::QemuCaps& caps);

// Findings about devices that this QEMU does not have.
void check_power(const VmConfig& config, const qmp::QemuCaps& caps,
                 std::vector<Diagnostic>& findings);

// Whether the VM gets a pvpanic device.
bool has_panic_device(const VmConfig& config, const qmp::QemuCaps& caps);

// What a QEMU that does not end has come to, and whether the config wants it kept like that; else
// the supervisor ends it. `reason` is the SHUTDOWN event's. Source: qemu qapi/run-state.json,
// RunState and ShutdownCause.
enum class Standstill { kShutdown, kPanic };
bool may_stand_still(const PowerConfig& power, Standstill what, std::string_view reason);

}  // namespace vmrig
