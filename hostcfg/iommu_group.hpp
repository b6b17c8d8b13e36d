// Whether a device can be handed to a VM with its IOMMU group, before anything is touched.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "hostcfg/base/pci_address.hpp"
#include "hostcfg/facts.hpp"

namespace vmrig {

struct GroupMember {
  enum class Role {
    kWanted,    // the device itself
    kOurs,      // another that the same VM takes
    kBridge,    // a PCI bridge: may stay with its port driver
    kUnbound,   // no driver
    kVfio,      // vfio-pci or a variant of it
    kPciStub,   // parked, as was done before vfio-pci
    kBlocking,  // a driver of the host does DMA through it
  };
  PciAddress address;
  Role role = Role::kBlocking;
  std::string driver;               // empty: none
  std::vector<std::string> in_use;  // why the host needs it, as in the facts
};

std::string_view role_name(GroupMember::Role role);  // "wanted", "bridge", "unbound", …

// The kernel hands out whole groups only: what stands in one group can reach each other's memory
// past the IOMMU. Source: linux Documentation/driver-api/vfio.rst; drivers/iommu/iommu.c
// (driver_managed_dma, since 6.0), drivers/vfio/vfio.c vfio_dev_viable (before).
struct GroupVerdict {
  int group = -1;  // -1: the device has none
  bool viable = false;
  std::vector<GroupMember> members;  // by address, the device itself among them
  std::string diagnosis;             // why it is not viable, one sentence; empty when it is
  std::string mend;                  // what could be done; empty when it is viable

  std::vector<PciAddress> blocking() const;
  bool alone() const { return members.size() == 1; }
};

// Judges `wanted`'s group when `wanted` and `also_ours` are on vfio-pci. The address has to be one
// of the facts; an unknown one is not viable and said so.
GroupVerdict judge_group(const HostFacts& facts, const PciAddress& wanted,
                         const std::set<PciAddress>& also_ours = {});

// vfio-pci and its variants (mlx5_vfio_pci, hisi_acc_vfio_pci, …).
bool is_vfio_driver(std::string_view driver);

}  // namespace vmrig
