// The effects behind host actions, each done and confirmed by reading back.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "hostcfg/access_control.hpp"
#include "hostcfg/base/pci_address.hpp"
#include "hostcfg/cgroup_control.hpp"
#include "hostcfg/host_action.hpp"
#include "hostcfg/memory_control.hpp"
#include "hostcfg/net_control.hpp"
#include "hostcfg/sysfs.hpp"

namespace vmrig {

struct DriverState {
  std::string driver;           // empty: none
  std::string driver_override;  // empty: none
  bool operator==(const DriverState&) const = default;
};

// A seam: tests put a host of their own here. Every function throws vmrig::Error naming the device
// and why; a device that is not there is an error too, except where it says otherwise.
class HostControl {
 public:
  virtual ~HostControl() = default;

  virtual bool is_module_loaded(const std::string& name) = 0;
  virtual void load_module(const std::string& name) = 0;

  virtual int vf_count(const PciAddress& pf) = 0;
  virtual void set_vf_count(const PciAddress& pf, int count) = 0;
  // Who needs the PF's VFs, in words; empty: nobody.
  virtual std::vector<std::string> vf_holders(const PciAddress& pf) = 0;
  virtual std::optional<PciAddress> vf_address(const PciAddress& pf, int index) = 0;

  virtual VfRecord vf_record(const PciAddress& pf, int index) = 0;
  virtual void set_vf(const PciAddress& pf, int index, const VfSettings& settings) = 0;

  // nullopt when there is no such device (any more).
  virtual std::optional<DriverState> driver_state(const PciAddress& device) = 0;
  // Sets the override to `driver`, takes the device from what it has, and has it probed.
  virtual void bind_driver(const PciAddress& device, const std::string& driver) = 0;
  virtual void unbind_driver(const PciAddress& device) = 0;
  // Sets the override and then the driver that it had; the device is on no driver before.
  virtual void restore_driver(const PciAddress& device, const DriverState& old) = 0;

  virtual NetControl& net() = 0;
  virtual CgroupControl& cgroups() = 0;
  virtual MemoryControl& memory() = 0;
  virtual AccessControl& access() = 0;
};

// This host, by sysfs, modprobe and netlink.
class LinuxHost final : public HostControl {
 public:
  explicit LinuxHost(Sysfs sysfs = Sysfs());

  bool is_module_loaded(const std::string& name) override;
  void load_module(const std::string& name) override;
  int vf_count(const PciAddress& pf) override;
  void set_vf_count(const PciAddress& pf, int count) override;
  std::vector<std::string> vf_holders(const PciAddress& pf) override;
  std::optional<PciAddress> vf_address(const PciAddress& pf, int index) override;
  VfRecord vf_record(const PciAddress& pf, int index) override;
  void set_vf(const PciAddress& pf, int index, const VfSettings& settings) override;
  std::optional<DriverState> driver_state(const PciAddress& device) override;
  void bind_driver(const PciAddress& device, const std::string& driver) override;
  void unbind_driver(const PciAddress& device) override;
  void restore_driver(const PciAddress& device, const DriverState& old) override;
  NetControl& net() override { return net_; }
  CgroupControl& cgroups() override { return cgroups_; }
  MemoryControl& memory() override { return memory_; }
  AccessControl& access() override { return access_; }

 private:
  Sysfs sysfs_;
  LinuxNet net_;
  LinuxCgroups cgroups_;
  LinuxMemory memory_;
  LinuxAccess access_;
};

}  // namespace vmrig
