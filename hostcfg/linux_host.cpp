#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include <net/if.h>

#include "hostcfg/base/error.hpp"
#include "hostcfg/checkpoint.hpp"
#include "hostcfg/folder_reader.hpp"
#include "hostcfg/host_control.hpp"
#include "hostcfg/modules.hpp"
#include "hostcfg/netlink.hpp"
#include "hostcfg/pci_driver.hpp"
#include "hostcfg/sriov.hpp"
#include "hostcfg/vf_settings.hpp"

namespace vmrig {
namespace {

struct PfNetDevice {
  std::string name;
  int index = 0;
};

Error pf_fault(const PciAddress& pf, std::string cause) {
  return Error({.status = ExitStatus::kHost,
                .operation = "set up VFs of",
                .object = pf.to_string(),
                .cause = std::move(cause),
                .mend = {}});
}

PfNetDevice require_net_device(const Sysfs& sysfs, const PciAddress& pf) {
  const auto root = FolderReader::open(sysfs.root());
  if (!root) throw system_error("read", sysfs.root(), errno);
  const std::string folder = fmt::format("sys/bus/pci/devices/{}/net", pf.to_string());
  std::vector<std::string> names = root->names(folder.c_str());
  if (names.empty()) {
    throw pf_fault(pf,
                   "it has no network device in this network namespace, and the records of its "
                   "VFs are kept there");
  }
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    // A card with several ports on one function numbers them; its VFs belong to the first.
    const std::string file = fmt::format("{}/{}/ifindex", folder, name);
    const int index = root->number<int>(file.c_str()).value_or(0);
    if (index > 0) return {name, index};
  }
  throw pf_fault(pf, "its network device is going away");
}

// Drivers measure a rate by the link's speed (linux igb_ndo_set_vf_bw, ixgbe_ndo_set_vf_bw), and
// many take the link down for a moment when VFs are made. A device that is down tells no carrier,
// and is not waited for.
void await_link(const Sysfs& sysfs, const std::string& net_device) {
  sysfs.wait_until(
      [&] { return sysfs.read(fmt::format("sys/class/net/{}/carrier", net_device)) != "0"; });
}

}  // namespace

LinuxHost::LinuxHost(Sysfs sysfs) : sysfs_(std::move(sysfs)) {}

bool LinuxHost::is_module_loaded(const std::string& name) {
  return vmrig::is_module_loaded(sysfs_, name);
}

void LinuxHost::load_module(const std::string& name) {
  checkpoint("before modprobe");
  vmrig::load_module(sysfs_, name);
  checkpoint("after modprobe");
}

int LinuxHost::vf_count(const PciAddress& pf) { return read_vf_count(sysfs_, pf); }

void LinuxHost::set_vf_count(const PciAddress& pf, int count) {
  vmrig::set_vf_count(sysfs_, pf, count);
}

std::vector<std::string> LinuxHost::vf_holders(const PciAddress& pf) {
  return find_vf_holders(sysfs_, pf);
}

std::optional<PciAddress> LinuxHost::vf_address(const PciAddress& pf, int index) {
  return find_vf(sysfs_, pf, index);
}

VfRecord LinuxHost::vf_record(const PciAddress& pf, int index) {
  const PfNetDevice device = require_net_device(sysfs_, pf);
  NetlinkSocket socket;
  for (VfRecord& record : read_vf_records(socket, device.index)) {
    if (record.index == index) return std::move(record);
  }
  throw pf_fault(pf, fmt::format("{} keeps no record of a VF {}", device.name, index));
}

void LinuxHost::set_vf(const PciAddress& pf, int index, const VfSettings& settings) {
  const PfNetDevice device = require_net_device(sysfs_, pf);
  if (settings.min_rate_mbit || settings.max_rate_mbit) await_link(sysfs_, device.name);
  NetlinkSocket socket;
  checkpoint("before vf settings");
  vmrig::set_vf(socket, device.index, fmt::format("{} ({})", device.name, pf.to_string()), index,
                settings);
  checkpoint("after vf settings");
}

std::optional<DriverState> LinuxHost::driver_state(const PciAddress& device) {
  return read_driver_state(sysfs_, device);
}

void LinuxHost::bind_driver(const PciAddress& device, const std::string& driver) {
  bind_pci_driver(sysfs_, device, driver);
}

void LinuxHost::unbind_driver(const PciAddress& device) { unbind_pci_driver(sysfs_, device); }

void LinuxHost::restore_driver(const PciAddress& device, const DriverState& old) {
  restore_pci_driver(sysfs_, device, old);
}

}  // namespace vmrig
