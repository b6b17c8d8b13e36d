#include "hostcfg/topology.hpp"

#include <hwloc.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include "hostcfg/base/error.hpp"
#include "hostcfg/cpu_topology.hpp"
#include "hostcfg/folder_reader.hpp"

namespace vmrig {
namespace {

[[noreturn]] void refuse(const std::string& source, std::string cause, std::string mend = {}) {
  throw Error({.status = ExitStatus::kHost,
               .operation = "read the processor topology of",
               .object = source,
               .cause = std::move(cause),
               .mend = std::move(mend)});
}

void check(int result, const std::string& source) {
  if (result < 0) throw system_error("read the processor topology of", source, errno);
}

CpuSet to_cpu_set(hwloc_const_bitmap_t bitmap) {
  CpuSet set;
  if (bitmap == nullptr || hwloc_bitmap_weight(bitmap) < 0) return set;  // infinitely many
  for (int cpu = hwloc_bitmap_first(bitmap); cpu >= 0 && cpu < CpuSet::kMaxCpus;
       cpu = hwloc_bitmap_next(bitmap, cpu)) {
    set.insert(cpu);
  }
  return set;
}

int index_of(hwloc_topology_t topology, hwloc_obj_type_t type, hwloc_obj_t below) {
  const hwloc_obj_t found = hwloc_get_ancestor_obj_by_type(topology, type, below);
  return found == nullptr ? -1 : static_cast<int>(found->logical_index);
}

std::vector<CpuFacts> cpus_of(hwloc_topology_t topology) {
  std::vector<CpuFacts> cpus;
  hwloc_obj_t unit = nullptr;
  while ((unit = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_PU, unit)) != nullptr) {
    if (unit->os_index >= static_cast<unsigned>(CpuSet::kMaxCpus)) continue;
    CpuFacts cpu;
    cpu.id = static_cast<int>(unit->os_index);
    cpu.core = index_of(topology, HWLOC_OBJ_CORE, unit);
    cpu.package = index_of(topology, HWLOC_OBJ_PACKAGE, unit);
    cpu.l3 = index_of(topology, HWLOC_OBJ_L3CACHE, unit);
    cpus.push_back(cpu);
  }
  std::sort(cpus.begin(), cpus.end(),
            [](const CpuFacts& a, const CpuFacts& b) { return a.id < b.id; });
  return cpus;
}

std::vector<Topology::Node> nodes_of(hwloc_topology_t topology) {
  std::vector<Topology::Node> nodes;
  hwloc_obj_t found = nullptr;
  while ((found = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_NUMANODE, found)) != nullptr) {
    const std::uint64_t memory =
        found->attr == nullptr ? 0 : std::uint64_t{found->attr->numanode.local_memory};
    nodes.push_back({static_cast<int>(found->os_index), to_cpu_set(found->cpuset), Bytes{memory}});
  }
  std::sort(nodes.begin(), nodes.end(),
            [](const Topology::Node& a, const Topology::Node& b) { return a.id < b.id; });
  return nodes;
}

// Of two nodes that share a CPU, one of which has memory alone, the first has it.
void set_nodes(std::vector<CpuFacts>& cpus, const std::vector<Topology::Node>& nodes) {
  std::map<int, int> node_of;
  for (const Topology::Node& node : nodes) {
    for (const int cpu : node.cpus.cpus()) node_of.emplace(cpu, node.id);
  }
  for (CpuFacts& cpu : cpus) {
    const auto node = node_of.find(cpu.id);
    if (node != node_of.end()) cpu.node = node->second;
  }
}

// "Node 0 MemTotal:  6777044 kB" among the rows.
Bytes memory_in(std::string_view meminfo) {
  while (!meminfo.empty()) {
    std::string_view line = take_line(meminfo);
    std::string_view key = take_word(line);
    if (key == "Node") {
      take_word(line);
      key = take_word(line);
    }
    if (key == "MemTotal:")
      return Bytes::kib(parse_number<std::uint64_t>(take_word(line)).value_or(0));
  }
  return {};
}

// Source: linux Documentation/ABI/stable/sysfs-devices-node. A kernel without NUMA has no such
// folder, and its CPUs and memory are one node.
std::vector<Topology::Node> read_nodes(const FolderReader& root,
                                       const std::vector<CpuFacts>& cpus) {
  constexpr std::string_view kPrefix = "node";
  std::vector<Topology::Node> nodes;
  const auto folder = root.folder("sys/devices/system/node");
  for (const std::string& name : folder ? folder->names(".") : std::vector<std::string>()) {
    const auto id =
        name.starts_with(kPrefix) ? parse_number<int>(name.substr(kPrefix.size())) : std::nullopt;
    if (!id) continue;
    Topology::Node node{.id = *id, .cpus = {}, .memory = {}};
    node.cpus = folder->cpulist((name + "/cpulist").c_str()).value_or(CpuSet());
    node.memory = memory_in(folder->attribute((name + "/meminfo").c_str()).value_or(std::string()));
    nodes.push_back(std::move(node));
  }
  if (nodes.empty()) {
    constexpr std::size_t kLimit = 16384;
    Topology::Node all;
    for (const CpuFacts& cpu : cpus) all.cpus.insert(cpu.id);
    all.memory = memory_in(root.text("proc/meminfo", kLimit).value_or(std::string()));
    nodes.push_back(std::move(all));
  }
  std::sort(nodes.begin(), nodes.end(),
            [](const Topology::Node& a, const Topology::Node& b) { return a.id < b.id; });
  return nodes;
}

}  // namespace

void Topology::Destroy::operator()(hwloc_topology* topology) const {
  hwloc_topology_destroy(topology);
}

Topology::Handle Topology::make_empty() {
  hwloc_topology_t topology = nullptr;
  check(hwloc_topology_init(&topology), "hwloc");
  return Handle(topology);
}

Topology Topology::load(Handle topology, const std::string& source) {
  // Distances and pools are read from sysfs with the other facts; leaving them and every level
  // that placement does not ask for out halves the loading time.
  constexpr unsigned long kFlags =
      HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED | HWLOC_TOPOLOGY_FLAG_NO_DISTANCES |
      HWLOC_TOPOLOGY_FLAG_NO_MEMATTRS | HWLOC_TOPOLOGY_FLAG_NO_CPUKINDS;
  check(hwloc_topology_set_flags(topology.get(), kFlags), source);
  check(hwloc_topology_set_all_types_filter(topology.get(), HWLOC_TYPE_FILTER_KEEP_NONE), source);
  for (const hwloc_obj_type_t type : {HWLOC_OBJ_PACKAGE, HWLOC_OBJ_L3CACHE, HWLOC_OBJ_CORE}) {
    check(hwloc_topology_set_type_filter(topology.get(), type, HWLOC_TYPE_FILTER_KEEP_ALL), source);
  }
  if (hwloc_topology_load(topology.get()) < 0) {
    refuse(source, "hwloc can't load it");
  }
  std::vector<Node> nodes = nodes_of(topology.get());
  std::vector<CpuFacts> cpus = cpus_of(topology.get());
  set_nodes(cpus, nodes);
  return Topology(std::move(topology), std::move(cpus), std::move(nodes));
}

Topology Topology::of_this_host() {
  const std::optional<FolderReader> root = FolderReader::open("/");
  std::optional<std::vector<CpuFacts>> cpus = root ? read_cpu_topology(*root) : std::nullopt;
  if (!cpus) return by_hwloc();
  std::vector<Node> nodes = read_nodes(*root, *cpus);
  set_nodes(*cpus, nodes);
  // hwloc binds by the numbers that it is given, whatever the topology.
  Topology smallest = from_description("pu:1");
  return Topology(std::move(smallest.topology_), std::move(*cpus), std::move(nodes));
}

Topology Topology::by_hwloc() {
  Handle topology = make_empty();
  // The x86 component runs cpuid on every CPU, and so disturbs isolated ones; the kernel's own
  // tables in sysfs say the same.
  check(hwloc_topology_set_components(topology.get(), HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST,
                                      "x86"),
        "this host");
  Topology loaded = load(std::move(topology), "this host");
  if (hwloc_topology_is_thissystem(loaded.handle()) == 0) {
    refuse("this host", "hwloc was told by the environment to describe another machine",
           "unset HWLOC_XMLFILE HWLOC_FSROOT HWLOC_SYNTHETIC HWLOC_COMPONENTS");
  }
  return loaded;
}

Topology Topology::from_xml(const std::string& xml) {
  Handle topology = make_empty();
  // hwloc takes the length as an int that counts the final NUL.
  constexpr std::size_t kLimit = std::size_t{64} << 20;
  if (xml.empty() || xml.size() > kLimit) refuse("hwloc XML", "it is empty or above 64 MiB");
  const int length = static_cast<int>(xml.size()) + 1;
  if (hwloc_topology_set_xmlbuffer(topology.get(), xml.c_str(), length) < 0) {
    refuse("hwloc XML", "it is no topology that hwloc can read");
  }
  return load(std::move(topology), "hwloc XML");
}

Topology Topology::from_description(const std::string& description) {
  Handle topology = make_empty();
  if (hwloc_topology_set_synthetic(topology.get(), description.c_str()) < 0) {
    refuse(description, "it is no synthetic topology of hwloc");
  }
  return load(std::move(topology), description);
}

}  // namespace vmrig
