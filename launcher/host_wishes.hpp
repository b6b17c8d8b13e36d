// What a config asks of its host.
#pragma once

#include "hostcfg/host_check.hpp"
#include "launcher/plan.hpp"

namespace vmrig {

// `plan` is the config's on this host; nullptr where none could be made: node, CPUs and the size of
// hugepages are then what the config itself says. Pure.
HostWishes wishes_of(const VmConfig& config, const Plan* plan);

}  // namespace vmrig
