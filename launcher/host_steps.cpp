#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "hostcfg/iommu_group.hpp"
#include "launcher/passthrough.hpp"
#include "launcher/preflight.hpp"

namespace vmrig {
namespace {

constexpr const char* kVfioPci = "vfio-pci";

VfSettings settings_of(const NicConfig& nic, const std::string& vm) {
  VfSettings settings;
  // Without one the VF gets a random address at each bind.
  settings.mac = mac_of(nic, vm);
  settings.vlan = nic.vlan;
  settings.qos = nic.vf.qos;
  if (nic.vf.vlan_proto) settings.vlan_proto = std::string(name_of(*nic.vf.vlan_proto));
  settings.trust = nic.vf.trust;
  settings.spoofchk = nic.vf.spoofchk;
  if (nic.link) settings.link_state = std::string(name_of(*nic.link));
  if (nic.vf.min_rate) settings.min_rate_mbit = parse_rate_mbit(*nic.vf.min_rate);
  if (nic.vf.max_rate) settings.max_rate_mbit = parse_rate_mbit(*nic.vf.max_rate);
  return settings;
}

class StepPlanner {
 public:
  StepPlanner(const PlanInput& input, const std::vector<PassedDevice>& devices,
              std::vector<Diagnostic>& findings)
      : input_(input), facts_(input.facts), devices_(devices), findings_(findings) {
    for (const PassedDevice& device : devices) ours_.insert(device.address);
  }

  HostSteps plan() {
    if (devices_.empty()) return {};
    for (const PassedDevice& device : devices_) {
      if (!device.is_new) judge(device);
    }
    check_vfio();
    make_vfs();
    set_vfs();
    for (const PassedDevice& device : devices_) bind(device.address, driver_of(device));
    for (const TakenAlong& taken : result_.along) bind(taken.device, kVfioPci);
    check_rights();
    return std::move(result_);
  }

 private:
  void problem(std::string path, std::string message, std::string mend,
               ExitStatus status = ExitStatus::kHost) {
    findings_.push_back(
        finding(Severity::kProblem, std::move(path), std::move(message), std::move(mend), status));
  }

  void step(HostAction action) {
    std::string text = describe_action(action, facts_);
    std::string undo = describe_undo(action, facts_);
    result_.steps.push_back({std::move(action), std::move(text), std::move(undo)});
  }

  const VfioConfig* vfio_of(const PassedDevice& device) const {
    for (const VfioConfig& vfio : input_.config.vfio) {
      if (vfio.id == device.id) return &vfio;
    }
    return nullptr;
  }

  static std::string path_of(const PassedDevice& device) {
    return device.origin + (device.origin.starts_with("nics") ? ".vf" : ".host");
  }

  std::string driver_of(const PassedDevice& device) const {
    const VfioConfig* vfio = vfio_of(device);
    return vfio != nullptr && vfio->driver == VfioDriver::kKeep ? std::string() : kVfioPci;
  }

  // Nothing of a group may be touched unless all of it can be had.
  void judge(const PassedDevice& device) {
    const VfioConfig* vfio = vfio_of(device);
    const GroupVerdict verdict = judge_group(facts_, device.address, ours_);
    for (const GroupMember& member : verdict.members) {
      if (ours_.count(member.address) != 0) continue;
      if (const Lease* holder = holder_of(member.address, input_.leases)) {
        return problem(path_of(device),
                       fmt::format("{} shares group {} with {}, which VM \"{}\" holds",
                                   device.address.to_string(), verdict.group,
                                   member.address.to_string(), holder->vm),
                       fmt::format("vmrig stop {}", holder->vm), ExitStatus::kBusy);
      }
    }
    if (verdict.viable) {
      findings_.push_back(finding(
          Severity::kOk, path_of(device),
          fmt::format("group {} of {} is viable", verdict.group, device.address.to_string())));
      return;
    }
    const std::vector<PciAddress> blocking = verdict.blocking();
    if (vfio == nullptr || !vfio->whole_group || blocking.empty()) {
      std::string mend = verdict.mend;
      if (vfio != nullptr && !blocking.empty()) mend = "\"whole_group\": true; or " + mend;
      return problem(path_of(device), verdict.diagnosis, std::move(mend));
    }
    for (const GroupMember& member : verdict.members) {
      if (member.role != GroupMember::Role::kBlocking) continue;
      if (!member.in_use.empty() && !vfio->force) {
        problem(path_of(device),
                fmt::format("{} of the same group is in use on the host: {}",
                            member.address.to_string(), fmt::join(member.in_use, ", ")),
                verdict.mend);
        continue;
      }
      ours_.insert(member.address);
      result_.along.push_back({.device = member.address, .with = device.address});
    }
  }

  void check_vfio() {
    const VfioFacts& vfio = facts_.vfio;
    if (!vfio.driver_present) {
      if (vfio.module_available) return step(LoadModule{kVfioPci});
      return problem(devices_.front().origin, "this kernel has no vfio-pci",
                     "install the kernel's modules, or a kernel with CONFIG_VFIO_PCI");
    }
    if (vfio.container.exists && !vfio.container.opens) {
      problem(devices_.front().origin, "/dev/vfio/vfio does not open: " + vfio.container.error,
              "run vmrig as root, or give the device node to its user");
    }
  }

  // How many a PF without VFs gets: what the NIC that wants the most of them says.
  void make_vfs() {
    std::map<PciAddress, int> counts;
    for (const PassedDevice& device : devices_) {
      if (!device.is_new) continue;
      for (const NicConfig& nic : input_.config.nics) {
        if (nic.id != device.id || !nic.vf.create) continue;
        int& count = counts[*device.pf];
        count = std::max(count, *nic.vf.create);
      }
    }
    for (const auto& [pf, count] : counts) step(SetVfCount{pf, count});
  }

  void set_vfs() {
    for (const PassedDevice& device : devices_) {
      if (!device.pf) continue;
      for (const NicConfig& nic : input_.config.nics) {
        if (nic.id == device.id && nic.type == NicType::kVf) set_vf(device, nic);
      }
    }
  }

  void set_vf(const PassedDevice& device, const NicConfig& nic) {
    VfSettings settings = settings_of(nic, input_.config.name);
    const PciDeviceFacts* pf = facts_.find_pci(*device.pf);
    if (pf != nullptr && !pf->net_devices.empty()) {
      return step(SetVf{*device.pf, device.vf_index, std::move(settings)});
    }
    // Nobody but the PF's network device can be told; without it the VF keeps what it has.
    if (!nic.mac) settings.mac.reset();
    if (settings.empty()) {
      findings_.push_back(
          finding(Severity::kWarning, device.origin,
                  fmt::format("{} has no network device here: the VF's MAC address stays as it is",
                              device.pf_name)));
      return;
    }
    problem(device.origin,
            fmt::format("{} can't be set: the PF {} has no network device here",
                        describe_settings(settings), device.pf_name),
            "give the PF to its own driver, in this network namespace");
  }

  void bind(const PciAddress& address, const std::string& driver) {
    const PciDeviceFacts* device = facts_.find_pci(address);
    if (driver.empty() || (device != nullptr && is_vfio_driver(device->driver))) return;
    step(BindDriver{address, driver});
  }

  void check_rights() {
    bool binds = false;
    bool sets = false;
    for (const HostStep& host_step : result_.steps) {
      sets = sets || std::holds_alternative<SetVf>(host_step.action);
      binds = binds || !std::holds_alternative<SetVf>(host_step.action);
    }
    if (binds && facts_.user_id != 0) {
      problem(devices_.front().origin, "only root can bind drivers, load modules and make VFs",
              "run vmrig as root, or bind the device before: vmrig vfio bind");
    }
    if (sets && !facts_.can_net_admin) {
      problem(devices_.front().origin, "a VF can't be set up without CAP_NET_ADMIN",
              "run vmrig as root");
    }
  }

  const PlanInput& input_;
  const HostFacts& facts_;
  const std::vector<PassedDevice>& devices_;
  std::vector<Diagnostic>& findings_;
  std::set<PciAddress> ours_;
  HostSteps result_;
};

}  // namespace

std::vector<PciAddress> addresses_of(const std::vector<PassedDevice>& devices,
                                     const std::vector<TakenAlong>& along) {
  std::vector<PciAddress> addresses;
  for (const PassedDevice& device : devices) addresses.push_back(device.address);
  for (const TakenAlong& taken : along) addresses.push_back(taken.device);
  std::sort(addresses.begin(), addresses.end());
  return addresses;
}

HostSteps plan_host_steps(const PlanInput& input, const std::vector<PassedDevice>& devices,
                          std::vector<Diagnostic>& findings) {
  return StepPlanner(input, devices, findings).plan();
}

}  // namespace vmrig
