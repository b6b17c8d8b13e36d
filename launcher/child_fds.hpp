// Opens what QEMU inherits, or is handed while it runs.
#pragma once

#include <vector>

#include "devices/description.hpp"
#include "hostcfg/base/fd.hpp"
#include "hostcfg/populate.hpp"
#include "launcher/plan.hpp"
#include "launcher/state_dir.hpp"

namespace vmrig {

// New fds, close-on-exec, in the order of the sources. The queues of one device stand together. A
// VFIO device has to be on its driver by now, a tap or macvtap to be there. A source that is a
// passt's connection starts that of `helpers`; one of memory gets another fd of its file in
// `memory`. Throws vmrig::Error.
std::vector<Fd> open_child_fds(const VmFolder& folder, const std::vector<FdSource>& sources,
                               const std::vector<Helper>& helpers,
                               const std::vector<MemoryFile>& memory = {});

}  // namespace vmrig
