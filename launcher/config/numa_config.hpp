// The guest's NUMA nodes, as the config names them.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hostcfg/base/bytes.hpp"
#include "hostcfg/base/cpu_set.hpp"
#include "hostcfg/base/shape.hpp"

namespace vmrig {

// One guest node. The guest numbers them as they stand in the list.
struct NumaCellConfig {
  std::string vcpus;           // a list of vCPU indices: "0-3"
  Bytes memory;                // a multiple of 1 MiB, and of the hugepage size where there is one
  std::optional<int> node;     // host NUMA node; chosen when not given
  std::vector<int> distances;  // to each guest node in order, 10 to itself; empty: 10 and 20
  bool pxb = false;            // a PCI root of its own, for passed devices of that host node
};

void describe(Fields& fields, NumaCellConfig& cell);

// The rules over all cells: together they have each of the `vcpus` vCPUs once, and `memory`.
// `page` is the size of which memory is a multiple. Faults are at "numa", "numa[1].vcpus", ….
void check_numa(const std::vector<NumaCellConfig>& cells, int vcpus, Bytes memory, Bytes page,
                const Fields::Fault& fault);

}  // namespace vmrig
