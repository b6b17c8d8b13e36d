// A USB device: an emulated one, or one of the host's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "devices/description.hpp"
#include "devices/disk.hpp"
#include "hostcfg/base/shape.hpp"

namespace vmrig {

enum class UsbType { kTablet, kKeyboard, kMouse, kStorage, kHost };
std::vector<std::string_view> enum_names(UsbType);

// A make of USB devices.
struct UsbIds {
  std::uint16_t vendor = 0;
  std::uint16_t product = 0;
  bool operator==(const UsbIds&) const = default;
};

struct UsbConfig {
  std::string id;
  UsbType type = UsbType::kTablet;
  // A storage device's image.
  std::optional<std::string> path;  // absolute once the config is loaded
  std::optional<DiskFormat> format;
  bool readonly = false;
  // Which device of the host: by its make, in either way of writing, or by its place.
  std::optional<std::string> device;   // "1d6b:0002"
  std::optional<std::string> vendor;   // "0x1d6b"
  std::optional<std::string> product;  // "0x0002"
  std::optional<int> bus;              // from 1
  std::optional<int> address;          // from 1; the kernel counts on when it is plugged in again
};

void describe(Fields& fields, UsbConfig& usb);

// The make that a host device is named by; none when it is named by its place.
std::optional<UsbIds> usb_ids(const UsbConfig& usb);

// A storage device's image as a disk of the same id, which is what is checked and claimed.
DiskConfig usb_disk(const UsbConfig& usb);

// `files` and `fds` are a storage device's. Needs kUsbController.
// A host device that is named by its make only is taken whenever one appears, the first of several.
DeviceDescription describe_usb(const UsbConfig& usb, std::string origin, const DiskFiles& files,
                               const FdNaming& fds);

}  // namespace vmrig
