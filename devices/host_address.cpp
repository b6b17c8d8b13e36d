#include "devices/host_address.hpp"

#include <stdexcept>
#include <string_view>

namespace vmrig {
namespace {

constexpr std::size_t kMostAddresses = 256;

constexpr std::string_view kPciAddressesPattern =
    "^([0-9A-Fa-f]{1,8}:)?[0-9A-Fa-f]{1,2}:[0-9A-Fa-f]{1,2}[.][0-7]"
    "(,([0-9A-Fa-f]{1,8}:)?[0-9A-Fa-f]{1,2}:[0-9A-Fa-f]{1,2}[.][0-7])*$";

std::string why_bad_addresses(const std::string& text) {
  try {
    (void)parse_pci_addresses(text);
    return {};
  } catch (const std::invalid_argument&) {
    return "is no PCI address; write \"0000:3b:10.1\", or several with commas between them";
  }
}

}  // namespace

TextRule pci_addresses_rule() {
  return {.min_length = 1,
          .max_length = 4096,
          .pattern = kPciAddressesPattern,
          .meaning = "PCI addresses",
          .check = why_bad_addresses};
}

std::vector<PciAddress> parse_pci_addresses(std::string_view text) {
  std::vector<PciAddress> addresses;
  while (true) {
    const std::size_t comma = text.find(',');
    addresses.push_back(PciAddress::parse(text.substr(0, comma)));
    if (comma == std::string_view::npos) return addresses;
    text.remove_prefix(comma + 1);
  }
}

void visit(Shape& shape, AddressChoice& value) {
  std::vector<PciAddress>& addresses = value.addresses;
  int which = addresses.size() > 1 ? 1 : 0;
  const auto take = [&addresses](const std::string& text) {
    if (text.empty() || !why_bad_addresses(text).empty()) return;  // reported as that
    for (const PciAddress& address : parse_pci_addresses(text)) addresses.push_back(address);
  };
  shape.any_of(which,
               {{Alternative::Type::kText,
                 [&](Shape& inner) {
                   std::string text =
                       addresses.empty() ? std::string() : addresses.front().to_string();
                   inner.text(text, pci_addresses_rule());
                   addresses.clear();
                   take(text);
                 }},
                {Alternative::Type::kList, [&](Shape& inner) {
                   std::vector<std::string> texts;
                   for (const PciAddress& address : addresses) texts.push_back(address.to_string());
                   vmrig::visit(inner, texts, ListRule{1, kMostAddresses}, pci_addresses_rule());
                   addresses.clear();
                   for (const std::string& text : texts) take(text);
                 }}});
}

}  // namespace vmrig
