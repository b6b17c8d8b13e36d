// Which PCI devices and VFs of the host a VM gets.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "launcher/placement.hpp"
#include "launcher/plan.hpp"

namespace vmrig {

// Pure and deterministic. First all that could be taken is listed, which tells placement what is
// near which node; once the node is known, the devices are chosen.
class Passthrough {
 public:
  // Faults are appended to `findings`: a device that is not there, is in use on the host or by
  // another VM, or a PF without VFs.
  Passthrough(const PlanInput& input, std::vector<Diagnostic>& findings);

  // One a device whose place matters.
  std::vector<NodeWish> node_wishes() const;

  // One a NIC of type vf and one a `vfio` entry, in that order; those that can't be had are
  // reported and left out. `node`: where the VM will be; nullopt when it is bound nowhere.
  std::vector<PassedDevice> choose(std::optional<int> node);

 private:
  // A device of the config, and what it could be, the best first.
  struct Wanted {
    std::string id;
    std::string origin;
    std::string path;  // config path of the key that names it
    std::string what;  // "VF of eno2"
    std::vector<PassedDevice> candidates;
  };
  // Why something was not taken.
  struct Refusal {
    std::string text;
    ExitStatus status = ExitStatus::kHost;
    std::string mend;
  };

  void want_vf(const NicConfig& nic, std::size_t index);
  void want_device(const VfioConfig& vfio, std::size_t index);
  void add_vfs_of(const NicConfig& nic, const std::string& name, Wanted& wanted);
  void add_future_vfs(const NicConfig& nic, const PciDeviceFacts& pf, const std::string& name,
                      Wanted& wanted);
  void add(const PassedDevice& device, bool force, Wanted& wanted);
  const PciDeviceFacts* find_pf(const std::string& name) const;
  std::string name_of_pf(const PciAddress& pf) const;
  PassedDevice passed(const Wanted& wanted, const PciDeviceFacts& device) const;
  void refuse(std::string text, ExitStatus status, std::string mend);
  void finish(Wanted wanted);

  const PlanInput& input_;
  std::vector<Diagnostic>& findings_;
  std::vector<Wanted> wanted_;
  std::vector<Refusal> refusals_;  // of the device that is being listed
};

// The VM that holds the device; nullptr: none does.
const Lease* holder_of(const PciAddress& device, const std::vector<Lease>& leases);

struct HostSteps {
  std::vector<HostStep> steps;
  std::vector<TakenAlong> along;
};

// All that a VM holds of the host's PCI devices, by address.
std::vector<PciAddress> addresses_of(const std::vector<PassedDevice>& devices,
                                     const std::vector<TakenAlong>& along);

// The steps that make `devices` ready for QEMU, in order. Every group is judged before; faults are
// appended to `findings`.
HostSteps plan_host_steps(const PlanInput& input, const std::vector<PassedDevice>& devices,
                          std::vector<Diagnostic>& findings);

}  // namespace vmrig
