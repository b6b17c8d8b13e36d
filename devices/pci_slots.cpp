#include "devices/pci_slots.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "hostcfg/base/error.hpp"

namespace vmrig {
namespace {

constexpr int kFunctionsPerSlot = 8;
constexpr int kFirstPortSlot = 1;  // slot 0 of pcie.0 is the host bridge
constexpr int kPortSlots = 0x1e;   // slot 0x1f is the ICH9 LPC, SATA and SMBus
constexpr int kFirstPcSlot = 3;    // 0 and 1 are the chipset's, 2 is left to a display card
constexpr int kPcSlots = 0x20;

DeviceDescription describe_port(int index) {
  const int slot = kFirstPortSlot + index / kFunctionsPerSlot;
  const int function = index % kFunctionsPerSlot;
  Json props = {{"driver", "pcie-root-port"},
                {"id", root_port_id(index)},
                {"bus", "pcie.0"},
                {"addr", fmt::format("{:x}.{:x}", slot, function)},
                {"chassis", index + 1},
                {"port", index}};
  if (function == 0) props["multifunction"] = true;
  return {.id = root_port_id(index),
          .origin = "machine.hotplug_ports",
          .controller = {},
          .backends = {},
          .front_ends = {{FrontEnd::Bus::kOther, std::move(props)}}};
}

}  // namespace

std::string root_port_id(int index) { return fmt::format("{}{}", kRootPortPrefix, index); }

int PciSlots::next_place(const FrontEnd& front_end) {
  const int index = used_++;
  const int places = layout_ == PciLayout::kPcie
                         ? (kPortSlots - kFirstPortSlot + 1) * kFunctionsPerSlot
                         : kPcSlots - kFirstPcSlot;
  if (index >= places) {
    throw Error({.status = ExitStatus::kUsage,
                 .operation = "find a PCI slot for",
                 .object = front_end.props.at("id").get<std::string>(),
                 .cause = fmt::format("all {} are taken", places),
                 .mend = "use fewer devices, or \"machine\": {\"type\": \"q35\"}"});
  }
  return index;
}

void PciSlots::place_together(const std::vector<SlotFunction>& functions) {
  const int index = next_place(*functions.front().front_end);
  const bool has_first = std::any_of(functions.begin(), functions.end(),
                                     [](const SlotFunction& f) { return f.number == 0; });
  int next = 0;
  for (const SlotFunction& function : functions) {
    Json& props = function.front_end->props;
    const int number = has_first ? function.number : next++;
    const bool pcie = layout_ == PciLayout::kPcie;
    props["bus"] = pcie ? root_port_id(index) : "pci.0";
    props["addr"] = fmt::format("{:x}.{:x}", pcie ? 0 : kFirstPcSlot + index, number);
    if (number == 0) props["multifunction"] = true;
  }
}

void PciSlots::place(FrontEnd& front_end) {
  const int index = next_place(front_end);
  if (layout_ == PciLayout::kPcie) {
    front_end.props["bus"] = root_port_id(index);
  } else {
    front_end.props["bus"] = "pci.0";
    front_end.props["addr"] = fmt::format("{:x}.0", kFirstPcSlot + index);
  }
}

void PciSlots::add_spare_ports(int count) {
  if (layout_ == PciLayout::kPcie) used_ += count;
}

std::vector<DeviceDescription> PciSlots::ports() const {
  std::vector<DeviceDescription> list;
  if (layout_ == PciLayout::kPcie) {
    for (int i = 0; i < used_; ++i) list.push_back(describe_port(i));
  }
  return list;
}

}  // namespace vmrig
