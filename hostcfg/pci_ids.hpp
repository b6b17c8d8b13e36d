// Names of PCI vendors and devices, where the host has the list of them (Debian: pci.ids).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace vmrig {

inline constexpr const char* kPciIdsPath = "/usr/share/misc/pci.ids";

struct PciName {
  std::string vendor;  // "Intel Corporation"; empty: not in the list
  std::string device;  // "Ethernet Controller X550"; empty: not in the list
};

// By vendor and device id. The file is read once, line by line, and only what was asked for is
// kept. Without a readable file all names are empty.
// Source: https://pci-ids.ucw.cz, the comment at the head of pci.ids.
std::map<std::pair<std::uint16_t, std::uint16_t>, PciName> find_pci_names(
    const std::vector<std::pair<std::uint16_t, std::uint16_t>>& ids,
    const std::string& path = kPciIdsPath);

}  // namespace vmrig
