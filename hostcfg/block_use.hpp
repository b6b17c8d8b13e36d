// Block devices that the host needs, by the PCI function that they hang on.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "hostcfg/base/pci_address.hpp"
#include "hostcfg/folder_reader.hpp"

namespace vmrig {

using BlockUses = std::map<PciAddress, std::vector<std::string>>;

// Disks and partitions that are mounted (in this mount namespace), swap space, or held by LVM, MD
// or dm-crypt; one line a reason. Disks without any stand for nothing.
// Source: proc_pid_mountinfo(5), proc(5) swaps, linux Documentation/ABI/stable/sysfs-block.
BlockUses find_block_uses(const FolderReader& root);

}  // namespace vmrig
