// Where on the guest's PCI buses devices go: a pcie-root-port each on q35, so that every one of
// them can be unplugged; slots of pci.0 on pc.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "devices/description.hpp"

namespace vmrig {

enum class PciLayout { kPcie, kConventional };

// A function that has to be in one slot with others.
struct SlotFunction {
  FrontEnd* front_end;
  int number = 0;  // 0 to 7, as on the host
};

class PciSlots {
 public:
  explicit PciSlots(PciLayout layout) : layout_(layout) {}

  // Adds a PCI root of its own for devices near a guest node (kPcie only), and returns its number,
  // from 0. Throws vmrig::Error when there are kMostRoots already.
  // Source: qemu docs/pci_expander_bridge.txt, docs/pcie.txt.
  int add_root(int guest_node);
  // Puts the function on the next free place: sets "bus" and "addr" of its properties. `root`: of
  // add_root(); nullopt for the machine's own.
  // Throws vmrig::Error when the buses are full.
  void place(FrontEnd& front_end, std::optional<int> root = {});
  // Puts several on one place, by their numbers; when none has the number 0, which every slot
  // needs, they are counted anew. Throws as place() does.
  void place_together(const std::vector<SlotFunction>& functions, std::optional<int> root = {});
  // Adds `count` empty root ports for hotplug; nothing on pc, whose slots take hotplug.
  void add_spare_ports(int count);
  // The root ports that the placed functions and the spares need, in order; they have to be
  // created before the devices.
  std::vector<DeviceDescription> ports() const;

  static constexpr int kMostRoots = 7;

 private:
  struct Root {
    int guest_node = 0;
    int used = 0;
  };
  int next_place(const FrontEnd& front_end);
  // The id of a free root port of that root, or the place on pci.0 as "".
  std::string next_bus(const FrontEnd& front_end, std::optional<int> root, int& slot);

  PciLayout layout_;
  int used_ = 0;
  std::vector<Root> roots_;
};

inline constexpr std::string_view kRootPortPrefix = "vmrig-port";

// The id of a root port, from 0.
std::string root_port_id(int index);

}  // namespace vmrig
