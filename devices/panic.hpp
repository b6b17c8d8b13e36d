// The device by which a guest's kernel tells that it has panicked (pvpanic).
#pragma once

#include "devices/description.hpp"

namespace vmrig {

inline constexpr const char* kPanicDriver = "pvpanic";

// On the ISA bus, which both q35 and pc have. Source: qemu docs/specs/pvpanic.txt.
DeviceDescription describe_panic();

}  // namespace vmrig
