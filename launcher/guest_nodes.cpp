#include "launcher/guest_nodes.hpp"

#include <fmt/format.h>

namespace vmrig {
namespace {

// "cpus=0-3,cpus=8": QEMU takes one range a key.
std::string vcpu_ranges(const CpuSet& vcpus) {
  std::string text = "cpus=" + vcpus.to_string();
  for (std::size_t comma = text.find(','); comma != std::string::npos;
       comma = text.find(',', comma + 1)) {
    text.insert(comma + 1, "cpus=");
  }
  return text;
}

}  // namespace

std::vector<GuestCell> memory_parts(const MemoryConfig& memory, const ThreadPlacement& placement) {
  if (!placement.cells.empty()) return placement.cells;
  GuestCell all;
  all.memory = memory.size;
  all.node = placement.node;
  all.bound = placement.node.has_value();
  return {all};
}

std::string memory_backend_id(std::size_t part) { return fmt::format("vmrig-mem{}", part); }

std::vector<QemuArgument> guest_node_arguments(const std::vector<GuestCell>& cells) {
  std::vector<QemuArgument> arguments;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    arguments.push_back({{"-numa", fmt::format("node,nodeid={},{},memdev={}", i,
                                               vcpu_ranges(cells[i].vcpus), memory_backend_id(i))},
                         fmt::format("numa[{}]", i)});
  }
  for (std::size_t i = 0; i < cells.size(); ++i) {
    for (std::size_t j = 0; j < cells[i].distances.size(); ++j) {
      arguments.push_back(
          {{"-numa", fmt::format("dist,src={},dst={},val={}", i, j, cells[i].distances[j])},
           fmt::format("numa[{}].distances", i)});
    }
  }
  return arguments;
}

}  // namespace vmrig
