#include "devices/controllers.hpp"

#include <fmt/format.h>

#include <stdexcept>

namespace vmrig {
namespace {

constexpr int kUsbPorts = 15;  // the most that qemu-xhci has of each speed (qemu hw/usb/hcd-xhci.h)

}  // namespace

bool is_controller(std::string_view id) {
  return id == kScsiController || id == kUsbController || id == kSerialController;
}

DeviceDescription describe_controller(std::string_view id) {
  Json props = {{"id", id}};
  std::string origin;
  if (id == kScsiController) {
    origin = "rule: SCSI disks share a controller";
    props["driver"] = "virtio-scsi-pci";
  } else if (id == kUsbController) {
    origin = "rule: USB devices share a controller";
    props["driver"] = "qemu-xhci";
    props["p2"] = kUsbPorts;
    props["p3"] = kUsbPorts;
  } else if (id == kSerialController) {
    origin = "rule: channels share a controller";
    props["driver"] = "virtio-serial-pci";
  } else {
    throw std::invalid_argument(fmt::format("\"{}\" is no controller", id));
  }
  return {.id = std::string(id),
          .origin = std::move(origin),
          .controller = {},
          .backends = {},
          .front_ends = {{FrontEnd::Bus::kPci, std::move(props)}}};
}

}  // namespace vmrig
