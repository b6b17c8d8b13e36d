// A device description as a sequence of QMP commands: the other rendering than command_line's.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "devices/description.hpp"
#include "hostcfg/base/fd.hpp"
#include "hostcfg/base/json.hpp"

namespace vmrig {

struct QmpCommand {
  std::string name;
  Json arguments;
};

// One command, and the one that takes it back.
struct PlugStep {
  QmpCommand plug;
  QmpCommand unplug;
  Fd file = {};  // goes along with `plug`, when valid
};

// With each block node inside the one above it, where at a start each is a node of its own: one
// command makes all of them and one removes them. Names and properties stay.
DeviceDescription with_block_tree(DeviceDescription device);

// Creates the backends, in order; to be taken back in reverse.
std::vector<PlugStep> backend_steps(const DeviceDescription& device);

// Creates a front end, once the backends are there and a PCI function has its bus.
PlugStep front_end_step(const FrontEnd& front_end);

// QEMU closes the set's files once nothing has them open.
QmpCommand fdset_removal(std::int64_t set);

// What removes the backends once the front ends are gone, the last made first.
std::vector<QmpCommand> backend_removal(const DeviceDescription& device);

}  // namespace vmrig
