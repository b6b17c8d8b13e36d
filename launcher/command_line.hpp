// Devices and options as words of QEMU's command line.
#pragma once

#include <string>
#include <vector>

#include "devices/description.hpp"
#include "qmp/caps.hpp"

namespace vmrig {

struct QemuArgument;

// `value` with commas doubled, for QEMU's key=value syntax (qemu docs, "suboptions").
std::string escape_commas(std::string_view value);

// The keyval form of flat or nested JSON: "a=1,b.c=on,list.0=x". Booleans are on and off.
std::string keyval(const Json& object);

// All of a device's backends, then its front ends, in the form that this QEMU takes: JSON where
// it can, keyval elsewhere.
std::vector<QemuArgument> render_device(const DeviceDescription& device, const qmp::QemuCaps& caps);

}  // namespace vmrig
