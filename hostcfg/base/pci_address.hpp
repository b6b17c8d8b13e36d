// Domain, bus, device and function of a PCI device on the host.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

namespace vmrig {

struct PciAddress {
  std::uint32_t domain = 0;  // to 0xffffffff: VMD and Hyper-V use more than 16 bits
  std::uint8_t bus = 0;
  std::uint8_t device = 0;    // 0 to 31
  std::uint8_t function = 0;  // 0 to 7

  // Reads "0000:3b:10.1" or "3b:10.1". Throws std::invalid_argument with a text for the user.
  static PciAddress parse(std::string_view text);
  std::string to_string() const;  // "0000:3b:10.1"

  auto operator<=>(const PciAddress&) const = default;
};

}  // namespace vmrig
