#include "hostcfg/usb_devices.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "hostcfg/device_node.hpp"

namespace vmrig {
namespace {

constexpr int kHubClass = 0x09;
constexpr int kMaxAddress = 127;  // seven bits on the wire

template <typename Number>
std::optional<Number> hexadecimal(const FolderReader& folder, const char* name) {
  const std::optional<std::string> text = folder.attribute(name);
  return text ? parse_number<Number>(*text, 16) : std::nullopt;
}

// Interfaces ("1-1:1.0") stand beside the devices, and have neither bus nor address.
std::optional<UsbDeviceFacts> read_device(const FolderReader& root, const FolderReader& folder) {
  UsbDeviceFacts device;
  device.bus = folder.number<int>("busnum").value_or(0);
  device.address = folder.number<int>("devnum").value_or(0);
  const auto vendor = hexadecimal<std::uint16_t>(folder, "idVendor");
  const auto product = hexadecimal<std::uint16_t>(folder, "idProduct");
  const bool has_place = device.bus >= 1 && device.address >= 1 && device.address <= kMaxAddress;
  if (!has_place || !vendor || !product) return std::nullopt;
  if (hexadecimal<int>(folder, "bDeviceClass") == kHubClass) return std::nullopt;
  device.vendor = *vendor;
  device.product = *product;
  device.name = folder.attribute("product").value_or(std::string{});
  const std::string node = fmt::format("dev/bus/usb/{:03}/{:03}", device.bus, device.address);
  device.node = read_device_node(root, node.c_str(), NodeProbe::kAskForAccess);
  return device;
}

}  // namespace

std::vector<UsbDeviceFacts> read_usb_devices(const FolderReader& root) {
  std::vector<UsbDeviceFacts> devices;
  const auto usb = root.folder("sys/bus/usb/devices");
  if (!usb) return devices;
  for (const std::string& name : usb->names(".")) {
    const auto folder = usb->folder(name.c_str());
    if (!folder) continue;
    if (auto device = read_device(root, *folder)) devices.push_back(std::move(*device));
  }
  std::sort(devices.begin(), devices.end(), [](const UsbDeviceFacts& a, const UsbDeviceFacts& b) {
    return std::pair(a.bus, a.address) < std::pair(b.bus, b.address);
  });
  return devices;
}

}  // namespace vmrig
