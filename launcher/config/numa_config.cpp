#include "launcher/config/numa_config.hpp"

#include <fmt/format.h>

#include <algorithm>

#include <nlohmann/json.hpp>
#include <stdexcept>

namespace vmrig {
namespace {

constexpr int kLocal = 10;       // ACPI SLIT: a node to itself
constexpr int kFarthest = 254;   // 255 is unreachable
constexpr int kMostNodes = 128;  // QEMU's MAX_NODES

std::string why_bad_vcpus(const std::string& text) {
  try {
    return CpuSet::parse(text).empty() ? "names no vCPU" : "";
  } catch (const std::invalid_argument&) {
    return "is no list of vCPUs; write \"0-3\" or \"0,2\"";
  }
}

}  // namespace

void describe(Fields& fields, NumaCellConfig& cell) {
  fields.required("vcpus", "vCPUs of this guest node, by index.", cell.vcpus,
                  TextRule{.min_length = 1,
                           .max_length = 1024,
                           .pattern = "^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$",
                           .meaning = "a list of vCPUs",
                           .check = why_bad_vcpus});
  fields.required("memory", "Memory of this guest node.", cell.memory,
                  SizeRule{Bytes::mib(1), Bytes::gib(std::uint64_t{64} << 10), Bytes::mib(1)});
  fields.optional("node", "Host NUMA node; chosen when left out.", cell.node, IntRule{0, 1023});
  fields.member("distances", "Distance to each guest node, 10 to itself.", Fields::Need::kOptional,
                !cell.distances.empty(), [&](Shape& shape) {
                  visit(shape, cell.distances, ListRule{1, kMostNodes}, IntRule{kLocal, kFarthest});
                });
  fields.optional("pxb", "A PCI root of its own for passed devices near this node (q35).",
                  cell.pxb);
}

void check_numa(const std::vector<NumaCellConfig>& cells, int vcpus, Bytes memory, Bytes page,
                const Fields::Fault& fault) {
  if (cells.empty()) return;
  CpuSet seen;
  Bytes sum;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const NumaCellConfig& cell = cells[i];
    const std::string path = fmt::format("numa[{}]", i);
    if (!why_bad_vcpus(cell.vcpus).empty()) continue;  // reported as that
    const CpuSet mine = CpuSet::parse(cell.vcpus);
    const CpuSet twice = mine & seen;
    if (!twice.empty()) {
      fault(path + ".vcpus", fmt::format("vCPU {} has a guest node already", twice.to_string()),
            {});
    }
    seen = seen | mine;
    sum = sum + cell.memory;
    if (cell.memory.value % page.value != 0) {
      fault(path + ".memory",
            fmt::format("{} is no multiple of the hugepage size {}", to_string(cell.memory),
                        to_string(page)),
            {});
    }
    if (!cell.distances.empty() && cell.distances.size() != cells.size()) {
      fault(path + ".distances",
            fmt::format("has {}, one a guest node is needed: {}", cell.distances.size(),
                        cells.size()),
            {});
    } else if (!cell.distances.empty() && cell.distances[i] != kLocal) {
      fault(path + ".distances",
            fmt::format("a node's distance to itself is {}, not {}", kLocal, cell.distances[i]),
            {});
    } else {
      for (std::size_t j = 0; j < cell.distances.size(); ++j) {
        if (j == i || cell.distances[j] > kLocal) continue;
        fault(path + ".distances",
              fmt::format("another node is farther than {}: {} to guest node {}", kLocal,
                          cell.distances[j], j),
              {});
      }
    }
  }
  CpuSet all;
  for (int i = 0; i < vcpus; ++i) all.insert(i);
  if (const CpuSet missing = all - seen; !missing.empty()) {
    fault("numa", fmt::format("vCPU {} has no guest node", missing.to_string()), {});
  }
  if (const CpuSet extra = seen - all; !extra.empty()) {
    fault("numa", fmt::format("there is no vCPU {}: the VM has {}", extra.to_string(), vcpus), {});
  }
  if (sum != memory) {
    fault("numa",
          fmt::format("its nodes have {} in all, memory.size is {}", to_string(sum),
                      to_string(memory)),
          fmt::format("\"memory\": {{\"size\": \"{}\"}}", to_string(sum)));
  }
  const bool some = std::any_of(cells.begin(), cells.end(),
                                [](const NumaCellConfig& cell) { return !cell.distances.empty(); });
  for (std::size_t i = 0; some && i < cells.size(); ++i) {
    if (!cells[i].distances.empty()) continue;
    fault(fmt::format("numa[{}].distances", i), "is missing where other nodes have them", {});
  }
}

}  // namespace vmrig
