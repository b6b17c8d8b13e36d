// What a VM holds of the host as long as its QEMU lives. Plain data, kept in its state.json.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "hostcfg/base/bytes.hpp"
#include "hostcfg/base/cpu_set.hpp"
#include "hostcfg/base/json.hpp"
#include "hostcfg/base/pci_address.hpp"

namespace vmrig {

// Hugepages that the VM takes of a pool.
struct PageClaim {
  int node = -1;  // NUMA node; -1: any
  Bytes page_size;
  std::uint64_t pages = 0;  // in a state.json all; in a plan's input those that it has not got yet
  std::uint64_t reserved = 0;  // of these, those that it adds to the pool itself and has not yet
  bool operator==(const PageClaim&) const = default;
};

struct Lease {
  std::string vm;
  CpuSet exclusive_cpus;                   // nobody else may pin there
  CpuSet shared_cpus;                      // pinned there, others may be too
  std::vector<std::string> written_disks;  // canonical paths open for writing
  std::vector<std::string> read_disks;     // open read-only
  std::vector<std::string> macs;
  std::vector<PciAddress> pci;          // devices and VFs, and what their IOMMU groups cost
  std::vector<std::string> usb;         // "bus.address"
  std::vector<std::string> interfaces;  // network devices that are its NICs' host ends
  std::vector<PageClaim> pages;
  std::optional<unsigned> uid;  // that is QEMU's alone
};

Json to_json(const Lease& lease);
Lease lease_from_json(const Json& json);  // throws vmrig::Error

}  // namespace vmrig
