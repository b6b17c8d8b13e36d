// Controllers that several devices share: vmrig makes one when the first device wants it.
#pragma once

#include <string_view>

#include "devices/description.hpp"

namespace vmrig {

// Ids, also the first part of the names of their buses ("vmrig-scsi0.0"). A config's ids can't be
// like them.
inline constexpr const char* kScsiController = "vmrig-scsi0";
inline constexpr const char* kUsbController = "vmrig-usb0";
inline constexpr const char* kSerialController = "vmrig-serial0";

bool is_controller(std::string_view id);

// One PCI front end. Throws std::invalid_argument when `id` is no controller's.
DeviceDescription describe_controller(std::string_view id);

}  // namespace vmrig
