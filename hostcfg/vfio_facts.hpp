// Whether this host can hand devices to VMs.
#pragma once

#include "hostcfg/facts.hpp"
#include "hostcfg/folder_reader.hpp"

namespace vmrig {

// Loads nothing: opening /dev/vfio/vfio or /dev/iommu would load its module, so they are opened
// only where their module is there, and otherwise judged by their access rights.
// `facts` has the kernel's release and the PCI devices.
VfioFacts read_vfio_facts(const FolderReader& root, const HostFacts& facts);

}  // namespace vmrig
