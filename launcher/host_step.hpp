// What a plan takes of the host: PCI devices, and the steps that prepare them. Plain data.
#pragma once

#include <optional>
#include <string>

#include "hostcfg/base/pci_address.hpp"
#include "hostcfg/host_action.hpp"

namespace vmrig {

// One change of the host, as it will be done and as people read it.
struct HostStep {
  HostAction action;
  std::string text;  // "0000:3b:10.1 ixgbevf > vfio-pci, group 154, alone"
  std::string undo;  // "ixgbevf"
};

// A PCI function of the host that is handed to the guest.
struct PassedDevice {
  std::string id;      // in the config
  std::string origin;  // config path: "nics[1]", "vfio[0]"
  PciAddress address;
  std::optional<PciAddress> pf;  // of a VF
  std::string pf_name;           // its network device, else its address
  int vf_index = -1;             // of a VF
  int node = -1;                 // NUMA node; -1: the host does not tell
  bool is_new = false;           // a VF that a host step makes
};

// A function of the IOMMU group of a device that is handed over, taken from the host with it.
struct TakenAlong {
  PciAddress device;
  PciAddress with;  // the device that needs it
};

// "VF 0000:3b:10.1 of eno2", or the address.
std::string device_text(const PassedDevice& device);

}  // namespace vmrig
