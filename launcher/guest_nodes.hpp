// The guest's NUMA nodes on QEMU's command line.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "launcher/plan.hpp"

namespace vmrig {

// The parts of the guest's memory, one a backend: its cells, or one with all of it.
std::vector<GuestCell> memory_parts(const MemoryConfig& memory, const ThreadPlacement& placement);

// The id of the backend of a part, from 0.
std::string memory_backend_id(std::size_t part);

// "-numa node,…" for each cell and "-numa dist,…" for each pair of which the distance is given;
// none when the guest has no cells.
// Source: qemu docs, qemu-options.hx, -numa.
std::vector<QemuArgument> guest_node_arguments(const std::vector<GuestCell>& cells);

}  // namespace vmrig
