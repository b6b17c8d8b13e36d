#include "launcher/access_plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "launcher/preflight.hpp"
#include "launcher/usb.hpp"

namespace vmrig {
namespace {

constexpr const char* kVfioContainer = "/dev/vfio/vfio";
constexpr unsigned kReadWrite = kMayRead | kMayWrite;

HostStep step_of(const PlanInput& input, GrantAccess grant) {
  HostAction action(std::move(grant));
  std::string text = describe_action(action, input.facts);
  std::string undo = describe_undo(action, input.facts);
  return {std::move(action), std::move(text), std::move(undo)};
}

// Of a user that is this VM's alone nobody shares an entry.
bool is_shared_with_others(const QemuUser& user) { return user.kind != QemuUser::Kind::kOwn; }

class AccessPlanner {
 public:
  AccessPlanner(const PlanInput& input, const QemuUser& user) : input_(input), user_(user) {}

  std::vector<HostStep> plan(const AccessWish& wish) {
    if (!user_.is_confined) return {};
    for (const PassedDevice& device : wish.passed) {
      grant({.device = device.id, .pci = device.address});
    }
    const auto& container = input_.facts.vfio.container.rights;
    if (!wish.passed.empty() && container && !may_access(*container, user_.account, kReadWrite)) {
      grant({.path = kVfioContainer, .is_shared = is_shared_with_others(user_)});
    }
    usb(wish.usb_places);
    for (const NicConfig& nic : input_.config.nics) {
      if (nic.type == NicType::kVhostUser && !nic.vhost_user.server) socket(nic);
    }
    return std::move(steps_);
  }

 private:
  void grant(GrantAccess action) {
    action.uid = user_.account.uid;
    const auto same = [&action](const HostStep& step) { return step.action == HostAction(action); };
    if (std::any_of(steps_.begin(), steps_.end(), same)) return;
    steps_.push_back(step_of(input_, std::move(action)));
  }

  void usb(const std::vector<std::string>& places) {
    std::size_t next = 0;
    for (const UsbConfig& device : input_.config.usb) {
      if (device.type != UsbType::kHost || next == places.size()) continue;
      const std::string& place = places[next++];
      for (const UsbDeviceFacts& facts : input_.facts.usb) {
        if (usb_place(facts) != place || !facts.node.rights ||
            may_access(*facts.node.rights, user_.account, kReadWrite)) {
          continue;
        }
        grant({.device = device.id,
               .path = fmt::format("/dev/bus/usb/{:03}/{:03}", facts.bus, facts.address)});
      }
    }
  }

  // The switch makes it, and makes it anew when it starts again.
  void socket(const NicConfig& nic) {
    const std::string& path = *nic.vhost_user.socket;
    const auto found = input_.facts.paths.find(path);
    if (found == input_.facts.paths.end()) return;
    const PathFacts& facts = found->second;
    for (const ClosedFolder& folder : folders_closed_to(facts, user_.account)) {
      grant({.path = folder.path,
             .kind = GrantAccess::Kind::kPass,
             .is_shared = is_shared_with_others(user_)});
    }
    if (facts.rights && may_access(*facts.rights, user_.account, kMayWrite)) return;
    grant({.device = nic.id, .path = path, .comes_later = true});
  }

  const PlanInput& input_;
  const QemuUser& user_;
  std::vector<HostStep> steps_;
};

}  // namespace

KvmAccess plan_kvm_access(const PlanInput& input, QemuUser& user,
                          std::vector<Diagnostic>& findings) {
  const DeviceFile& kvm = input.facts.kvm;
  if (!user.is_confined || !kvm.rights || may_access(*kvm.rights, user.account, kReadWrite)) {
    return KvmAccess::kOpen;
  }
  if (input.caps.has_accel_property("kvm", "device")) return KvmAccess::kByFd;
  constexpr unsigned kShift = 3;
  const bool is_groups = ((kvm.rights->mode >> kShift) & kReadWrite) == kReadWrite;
  // Root's group opens more than this node.
  if (is_groups && kvm.rights->gid != 0) {
    user.account.groups.push_back(kvm.rights->gid);
    return KvmAccess::kOpen;
  }
  if (!kvm.has_acl) {
    findings.push_back(finding(
        Severity::kProblem, "machine.accel",
        fmt::format("{} is not open to user {}, and has no ACL", kKvmNode, describe(user)),
        fmt::format("chgrp kvm {0} && chmod 660 {0}, or --set machine.accel=tcg", kKvmNode)));
  }
  return KvmAccess::kByAcl;
}

HostStep kvm_step(const PlanInput& input, const QemuUser& user) {
  return step_of(
      input, {.path = kKvmNode, .uid = user.account.uid, .is_shared = is_shared_with_others(user)});
}

void check_qemu_access(const PlanInput& input, const QemuUser& user,
                       std::vector<Diagnostic>& findings) {
  const auto found = input.facts.paths.find(input.qemu);
  if (!user.is_confined || found == input.facts.paths.end()) return;
  const PathFacts& file = found->second;
  const std::vector<ClosedFolder> closed = folders_closed_to(file, user.account);
  if (may_reach(file, user.account, kMaySearch)) return;
  const std::string& what = closed.empty() ? input.qemu : closed.front().path;
  findings.push_back(
      finding(Severity::kProblem, "qemu",
              fmt::format("user {} can't execute {}: {} is closed to it", describe(user),
                          quote(input.qemu), quote(what)),
              fmt::format("chmod o+x {}, another \"qemu\", or --set security.user=caller", what)));
}

std::vector<HostStep> plan_access(const PlanInput& input, const QemuUser& user,
                                  const AccessWish& wish) {
  return AccessPlanner(input, user).plan(wish);
}

}  // namespace vmrig
