// What QEMU opens itself, and its user has no right to: the steps that give it. Pure.
#pragma once

#include <string>
#include <vector>

#include "launcher/host_step.hpp"
#include "launcher/plan.hpp"

namespace vmrig {

inline constexpr const char* kKvmNode = "/dev/kvm";

enum class KvmAccess {
  kOpen,   // to QEMU's user, or to a group that it is in
  kByFd,   // vmrig opens it: this QEMU takes an fd
  kByAcl,  // by a host step
};

// A group that /dev/kvm is open to is added to the user's. Faults are appended to `findings`.
KvmAccess plan_kvm_access(const PlanInput& input, QemuUser& user,
                          std::vector<Diagnostic>& findings);
HostStep kvm_step(const PlanInput& input, const QemuUser& user);

// The finding when the user can't execute QEMU.
void check_qemu_access(const PlanInput& input, const QemuUser& user,
                       std::vector<Diagnostic>& findings);

// Devices beside those of the config's NICs.
struct AccessWish {
  std::vector<PassedDevice> passed;     // whose VFIO group QEMU opens
  std::vector<std::string> usb_places;  // "1.5", of the config's host devices, in order
};

// For the VFIO groups, USB devices and vhost-user sockets of `input.config`; to be applied after
// the devices are on their drivers. None for a user who may do what vmrig may.
std::vector<HostStep> plan_access(const PlanInput& input, const QemuUser& user,
                                  const AccessWish& wish);

}  // namespace vmrig
