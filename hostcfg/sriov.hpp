// VFs of a PF: how many, who has them, where they are.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "hostcfg/base/pci_address.hpp"
#include "hostcfg/sysfs.hpp"

namespace vmrig {

// Throws vmrig::Error (kHost) when it is no PF.
// Source: linux Documentation/PCI/pci-iov-howto.rst, ABI/testing/sysfs-bus-pci.
int read_vf_count(const Sysfs& sysfs, const PciAddress& pf);

// nullopt when the PF has no VF of that number.
std::optional<PciAddress> find_vf(const Sysfs& sysfs, const PciAddress& pf, int index);

// Who needs the PF's VFs, in words ("0000:3b:10.1 is on vfio-pci"); empty: nobody. A network
// driver whose network device can't be seen has it in another network namespace.
std::vector<std::string> find_vf_holders(const Sysfs& sysfs, const PciAddress& pf);

// Makes exactly `count` VFs and waits until they are there. Any change of a count that is not zero
// goes through zero. Throws vmrig::Error: kBusy naming the holders when that would take VFs from
// somebody, kHost when the PF refuses.
void set_vf_count(const Sysfs& sysfs, const PciAddress& pf, int count);

}  // namespace vmrig
