#include "devices/vfio.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "devices/host_address.hpp"
#include "devices/ids.hpp"

namespace vmrig {
namespace {

// What vmrig decides itself: where the device is, on both sides.
constexpr std::array<std::string_view, 9> kOwnProperties = {
    "driver", "id", "host", "sysfsdev", "fd", "iommufd", "bus", "addr", "multifunction"};

TextRule property_rule() {
  return {
      .min_length = 1,
      .max_length = 64,
      .pattern = "^(?!(driver|id|host|sysfsdev|fd|iommufd|bus|addr|multifunction)$)[a-z0-9_.-]+$",
      .meaning = "a property of QEMU's vfio-pci",
      .check = [](const std::string& name) -> std::string {
        if (std::find(kOwnProperties.begin(), kOwnProperties.end(), name) != kOwnProperties.end()) {
          return "is set by vmrig itself";
        }
        const bool good = std::all_of(name.begin(), name.end(), [](char c) {
          return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
                 c == '.';
        });
        return good ? "" : "is no property of vfio-pci, such as \"x-vga\"";
      }};
}

}  // namespace

std::vector<std::string_view> enum_names(VfioDriver) { return {"vfio-pci", "keep"}; }

void describe(Fields& fields, VfioConfig& vfio) {
  AddressChoice hosts{vfio.hosts};
  fields.required("id", "Name of the device in vmrig and QMP.", vfio.id, id_rule());
  fields.member("host", "PCI address on the host, or several: the first that no VM holds.",
                Fields::Need::kRequired, true, [&](Shape& shape) { visit(shape, hosts); });
  fields.optional("force", "Take it although the host uses it, or it can't be reset.", vfio.force);
  fields.optional("whole_group", "Take the other devices of its IOMMU group from the host, too.",
                  vfio.whole_group);
  fields.optional("driver", "vfio-pci, or keep: the variant of it that the device is on.",
                  vfio.driver);
  fields.optional("multifunction", "Functions of one device of the host share a slot of the guest.",
                  vfio.multifunction);
  fields.optional("rombar", "The guest sees the device's option ROM.", vfio.rombar);
  fields.optional(
      "romfile", "Option ROM from a file; empty for none.", vfio.romfile,
      TextRule{.min_length = 0, .max_length = 4095, .pattern = {}, .meaning = {}, .check = {}});
  fields.member("properties", "More properties of QEMU's vfio-pci device.", Fields::Need::kOptional,
                !vfio.properties.empty(),
                [&](Shape& shape) { shape.scalars(vfio.properties, property_rule()); });
}

DeviceDescription describe_iommufd(const FdNaming& fds) {
  return {.id = kIommufdId,
          .origin = "rule: iommufd",
          .controller = {},
          .backends = {{BackendKind::kObject,
                        {{"qom-type", "iommufd"},
                         {"id", kIommufdId},
                         {"fd", fds({FdSource::Kind::kIommufd, "iommu"})}}}},
          .front_ends = {}};
}

DeviceDescription describe_vfio(const VfioFrontEnd& device, const FdNaming& fds) {
  Json props = {{"driver", "vfio-pci"}, {"id", device.id}};
  switch (device.access) {
    case VfioAccess::kGroup:
      props["host"] = device.address.to_string();
      break;
    case VfioAccess::kIommufd:
      props["iommufd"] = kIommufdId;
      props["fd"] = fds({FdSource::Kind::kVfioDevice, device.address.to_string()});
      break;
  }
  if (device.rombar) props["rombar"] = *device.rombar ? 1 : 0;
  if (device.romfile) props["romfile"] = *device.romfile;
  if (device.bootindex >= 0) props["bootindex"] = device.bootindex;
  for (const auto& [name, value] : device.properties.items()) props[name] = value;
  return {.id = device.id,
          .origin = device.origin,
          .controller = {},
          .backends = {},
          .front_ends = {{FrontEnd::Bus::kPci, std::move(props)}}};
}

}  // namespace vmrig
