#include "hostcfg/base/pci_address.hpp"

#include <fmt/format.h>

#include <charconv>
#include <stdexcept>

#include "hostcfg/base/error.hpp"

namespace vmrig {
namespace {

// A hexadecimal field of 1 to `digits` digits, at most `highest`.
bool read_field(std::string_view text, std::size_t digits, std::uint32_t highest,
                std::uint32_t& value) {
  if (text.empty() || text.size() > digits) return false;
  auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  return error == std::errc{} && rest == text.data() + text.size() && value <= highest;
}

}  // namespace

PciAddress PciAddress::parse(std::string_view text) {
  std::string_view left = text;
  std::uint32_t domain = 0;
  std::uint32_t bus = 0;
  std::uint32_t device = 0;
  std::uint32_t function = 0;
  bool good = true;
  const std::size_t first = left.find(':');
  const std::size_t second = first == std::string_view::npos ? first : left.find(':', first + 1);
  if (second != std::string_view::npos) {
    good = read_field(left.substr(0, first), 8, 0xffffffff, domain);
    left.remove_prefix(first + 1);
  }
  const std::size_t colon = left.find(':');
  const std::size_t dot = left.find('.');
  good = good && colon != std::string_view::npos && dot != std::string_view::npos && dot > colon &&
         read_field(left.substr(0, colon), 2, 0xff, bus) &&
         read_field(left.substr(colon + 1, dot - colon - 1), 2, 0x1f, device) &&
         read_field(left.substr(dot + 1), 1, 7, function);
  if (!good) {
    throw std::invalid_argument(
        fmt::format("{} is not a PCI address; write \"0000:3b:10.1\"", quote(text)));
  }
  return {domain, static_cast<std::uint8_t>(bus), static_cast<std::uint8_t>(device),
          static_cast<std::uint8_t>(function)};
}

std::string PciAddress::to_string() const {
  return fmt::format("{:04x}:{:02x}:{:02x}.{:x}", domain, bus, device, function);
}

}  // namespace vmrig
