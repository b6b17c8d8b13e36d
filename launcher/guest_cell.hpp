// A NUMA node of the guest, placed on the host. Plain data.
#pragma once

#include <optional>
#include <vector>

#include "hostcfg/base/bytes.hpp"
#include "hostcfg/base/cpu_set.hpp"
#include "hostcfg/base/json.hpp"

namespace vmrig {

struct GuestCell {
  CpuSet vcpus;  // by index
  Bytes memory;
  std::optional<int> node;     // of the host, near which its vCPUs are
  bool bound = false;          // its memory is of that node and no other
  std::vector<int> distances;  // to each cell in order; empty: QEMU's 10 and 20
  bool pxb = false;            // with a PCI root of its own

  std::optional<int> memory_node() const { return bound ? node : std::nullopt; }
};

Json to_json(const GuestCell& cell);
GuestCell guest_cell_from_json(const Json& json);  // throws what Json and parse_bytes() throw

}  // namespace vmrig
