#include "devices/pci_slots.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "hostcfg/base/error.hpp"

namespace vmrig {
namespace {

constexpr int kFunctionsPerSlot = 8;
constexpr int kFirstPortSlot = 1;  // slot 0 of pcie.0 is the host bridge
constexpr int kPortSlots = 0x1e;   // slot 0x1f is the ICH9 LPC, SATA and SMBus
constexpr int kFirstPcSlot = 3;    // 0 and 1 are the chipset's, 2 is left to a display card
constexpr int kPcSlots = 0x20;

// Buses are numbered from the top down, so that those behind the machine's own ports, which the
// firmware counts up from 1, don't meet them.
constexpr int kBusesPerRoot = 16;
constexpr int kPortsPerRoot = kBusesPerRoot - 1;
constexpr int kFirstRootBus = 256 - kBusesPerRoot;
constexpr int kFirstRootChassis = 255;  // counted down; the machine's own ports have 1 to 240

std::string root_id(int root) { return fmt::format("vmrig-pxb{}", root); }
std::string port_of_root(int root, int index) {
  return fmt::format("{}-port{}", root_id(root), index);
}

DeviceDescription only_front_end(std::string id, std::string origin, Json props) {
  return {.id = std::move(id),
          .origin = std::move(origin),
          .controller = {},
          .backends = {},
          .front_ends = {{FrontEnd::Bus::kOther, std::move(props)}}};
}

DeviceDescription describe_root(int root, int guest_node) {
  return only_front_end(root_id(root), fmt::format("numa[{}].pxb", guest_node),
                        {{"driver", "pxb-pcie"},
                         {"id", root_id(root)},
                         {"bus", "pcie.0"},
                         {"addr", fmt::format("{:x}.0", kPortSlots - root)},
                         {"bus_nr", kFirstRootBus - root * kBusesPerRoot},
                         {"numa_node", guest_node}});
}

DeviceDescription describe_root_port(int root, int guest_node, int index) {
  return only_front_end(port_of_root(root, index), fmt::format("numa[{}].pxb", guest_node),
                        {{"driver", "pcie-root-port"},
                         {"id", port_of_root(root, index)},
                         {"bus", root_id(root)},
                         {"chassis", kFirstRootChassis - root},
                         {"slot", index},
                         {"port", index}});
}

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
  return only_front_end(root_port_id(index), "machine.hotplug_ports", std::move(props));
}

}  // namespace

std::string root_port_id(int index) { return fmt::format("{}{}", kRootPortPrefix, index); }

int PciSlots::next_place(const FrontEnd& front_end) {
  const int index = used_++;
  const int places =
      layout_ == PciLayout::kPcie
          ? (kPortSlots - kFirstPortSlot + 1 - static_cast<int>(roots_.size())) * kFunctionsPerSlot
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

int PciSlots::add_root(int guest_node) {
  if (static_cast<int>(roots_.size()) == kMostRoots) {
    throw Error({.status = ExitStatus::kUsage,
                 .operation = "add a PCI root to guest node",
                 .object = std::to_string(guest_node),
                 .cause = fmt::format("there are {} already", kMostRoots),
                 .mend = R"("pxb": false)"});
  }
  roots_.push_back({.guest_node = guest_node, .used = 0});
  return static_cast<int>(roots_.size()) - 1;
}

std::string PciSlots::next_bus(const FrontEnd& front_end, std::optional<int> root, int& slot) {
  slot = 0;
  if (root) {
    Root& mine = roots_.at(static_cast<std::size_t>(*root));
    if (mine.used < kPortsPerRoot) return port_of_root(*root, mine.used++);
    throw Error({.status = ExitStatus::kUsage,
                 .operation = "find a PCI slot for",
                 .object = front_end.props.at("id").get<std::string>(),
                 .cause = fmt::format("all {} of guest node {}'s PCI root are taken", kPortsPerRoot,
                                      mine.guest_node),
                 .mend = R"("pxb": false)"});
  }
  const int index = next_place(front_end);
  if (layout_ == PciLayout::kPcie) return root_port_id(index);
  slot = kFirstPcSlot + index;
  return "pci.0";
}

void PciSlots::place_together(const std::vector<SlotFunction>& functions, std::optional<int> root) {
  int slot = 0;
  const std::string bus = next_bus(*functions.front().front_end, root, slot);
  const bool has_first = std::any_of(functions.begin(), functions.end(),
                                     [](const SlotFunction& f) { return f.number == 0; });
  int next = 0;
  for (const SlotFunction& function : functions) {
    Json& props = function.front_end->props;
    const int number = has_first ? function.number : next++;
    props["bus"] = bus;
    props["addr"] = fmt::format("{:x}.{:x}", slot, number);
    if (number == 0) props["multifunction"] = true;
  }
}

void PciSlots::place(FrontEnd& front_end, std::optional<int> root) {
  int slot = 0;
  front_end.props["bus"] = next_bus(front_end, root, slot);
  if (slot > 0) front_end.props["addr"] = fmt::format("{:x}.0", slot);
}

void PciSlots::add_spare_ports(int count) {
  if (layout_ == PciLayout::kPcie) used_ += count;
}

std::vector<DeviceDescription> PciSlots::ports() const {
  std::vector<DeviceDescription> list;
  if (layout_ == PciLayout::kPcie) {
    for (int i = 0; i < used_; ++i) list.push_back(describe_port(i));
  }
  for (int root = 0; root < static_cast<int>(roots_.size()); ++root) {
    const Root& mine = roots_[static_cast<std::size_t>(root)];
    list.push_back(describe_root(root, mine.guest_node));
    for (int i = 0; i < mine.used; ++i) {
      list.push_back(describe_root_port(root, mine.guest_node, i));
    }
  }
  return list;
}

}  // namespace vmrig
