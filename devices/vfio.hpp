// A PCI device of the host, handed to the guest by VFIO.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "devices/description.hpp"
#include "hostcfg/base/pci_address.hpp"
#include "hostcfg/base/shape.hpp"

namespace vmrig {

enum class VfioDriver { kVfioPci, kKeep };
std::vector<std::string_view> enum_names(VfioDriver);

struct VfioConfig {
  std::string id;
  std::vector<PciAddress> hosts;             // the first that no VM holds is taken
  bool force = false;                        // although the host uses it, or it can't be reset
  bool whole_group = false;                  // bind the rest of its IOMMU group, too
  VfioDriver driver = VfioDriver::kVfioPci;  // keep: it is on a variant of vfio-pci already
  bool multifunction = true;                 // functions of one device of the host share a slot
  std::optional<bool> rombar;                // the guest sees the device's option ROM
  std::optional<std::string> romfile;        // absolute once the config is loaded
  Json properties = Json::object();          // more properties of QEMU's vfio-pci, as they are
};

void describe(Fields& fields, VfioConfig& vfio);

inline constexpr const char* kIommufdId = "vmrig-iommufd";

// How QEMU gets at the device.
enum class VfioAccess {
  kGroup,    // QEMU opens /dev/vfio/GROUP itself
  kIommufd,  // by the device's own node and /dev/iommu, both opened by vmrig
};

// The object that all devices by kIommufd share; it has to be created before them.
DeviceDescription describe_iommufd(const FdNaming& fds);

// What a front end is made of.
struct VfioFrontEnd {
  std::string id;
  std::string origin;
  PciAddress address;
  VfioAccess access = VfioAccess::kGroup;
  std::optional<bool> rombar;
  std::optional<std::string> romfile;  // empty: no option ROM is loaded
  int bootindex = -1;                  // -1: not booted from
  Json properties = Json::object();    // laid over all others
};

DeviceDescription describe_vfio(const VfioFrontEnd& device, const FdNaming& fds);

}  // namespace vmrig
