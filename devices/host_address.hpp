// PCI addresses of the host, as a config names them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "hostcfg/base/pci_address.hpp"
#include "hostcfg/base/shape.hpp"

namespace vmrig {

// "0000:3b:10.1", or several with commas between them, as Kubernetes' device plugins give them in
// PCIDEVICE_….
TextRule pci_addresses_rule();

// What the rule let through. Throws std::invalid_argument with a text for the user.
std::vector<PciAddress> parse_pci_addresses(std::string_view text);

// A list of candidates: a text by the rule above, or a list of such texts. One address is written
// as a text.
struct AddressChoice {
  std::vector<PciAddress>& addresses;
};
void visit(Shape& shape, AddressChoice& value);

}  // namespace vmrig
