// Opens what QEMU inherits.
#pragma once

#include "devices/description.hpp"
#include "hostcfg/base/fd.hpp"
#include "launcher/state_dir.hpp"

namespace vmrig {

// A new fd, close-on-exec. A VFIO device has to be on its driver by now. Throws vmrig::Error.
Fd open_child_fd(const VmFolder& folder, const FdSource& source);

}  // namespace vmrig
