#include "hostcfg/numa_nodes.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace vmrig {
namespace {

constexpr std::uint64_t kMaxKib = std::uint64_t{1} << 50;  // a sum of several fits into bytes
constexpr std::uint64_t kMaxPages = std::uint64_t{1} << 52;

// The number between a prefix and a suffix of a file name, as the kernel writes it: "node01" would
// be a second "node1".
template <typename Number>
std::optional<Number> number_in(std::string_view name, std::string_view prefix,
                                std::string_view suffix = {}) {
  if (name.size() <= prefix.size() + suffix.size() || name.substr(0, prefix.size()) != prefix ||
      name.substr(name.size() - suffix.size()) != suffix) {
    return std::nullopt;
  }
  const std::string_view digits =
      name.substr(prefix.size(), name.size() - prefix.size() - suffix.size());
  const auto number = parse_number<Number>(digits);
  return number && std::to_string(*number) == digits ? number : std::nullopt;
}

// Rows such as "MemTotal:  6777044 kB", also behind "Node 0 ". Free is what can be had without
// swapping, the page cache and reclaimable slabs too: a host that has read files has little else.
// Source: linux mm/show_mem.c si_mem_available(); a node's meminfo has no MemAvailable.
void read_meminfo(std::string_view text, NumaNode& node) {
  while (!text.empty()) {
    std::string_view line = take_line(text);
    std::string_view key = take_word(line);
    if (key == "Node") {
      take_word(line);
      key = take_word(line);
    }
    const bool is_free = key == "MemFree:" || key == "Active(file):" || key == "Inactive(file):" ||
                         key == "SReclaimable:";
    if (key != "MemTotal:" && !is_free) continue;
    const auto kib = parse_number<std::uint64_t>(take_word(line));
    if (!kib || *kib > kMaxKib || line != "kB") continue;
    if (is_free) {
      node.memory_free = node.memory_free + Bytes::kib(*kib);
    } else {
      node.memory_total = Bytes::kib(*kib);
    }
  }
  node.memory_free = std::min(node.memory_free, node.memory_total);
}

NumaNode read_node(const FolderReader& folder, int id) {
  NumaNode node;
  node.id = id;
  node.cpus = folder.cpulist("cpulist").value_or(CpuSet{});
  if (const auto meminfo = folder.attribute("meminfo")) read_meminfo(*meminfo, node);
  node.hugepages = read_hugepage_pools(folder, "hugepages");
  return node;
}

// The row of distances has one number for each online node, in the order of their ids.
void read_distances(const FolderReader& folder, const std::vector<NumaNode>& nodes,
                    NumaNode& node) {
  const std::string content = folder.attribute("distance").value_or(std::string{});
  std::string_view row = content;
  for (const NumaNode& other : nodes) {
    const auto distance = parse_number<int>(take_word(row));
    if (!distance || *distance < 0 || *distance > 255) return;
    node.distances[other.id] = *distance;
  }
}

std::vector<NumaNode> nodes_of(const Topology& topology, const FolderReader& root) {
  std::vector<NumaNode> nodes;
  for (const Topology::Node& known : topology.nodes()) {
    NumaNode node;
    node.id = known.id;
    node.cpus = known.cpus;
    node.memory_total = known.memory;
    nodes.push_back(std::move(node));
  }
  if (nodes.size() != 1) return nodes;
  if (const auto meminfo = root.text("proc/meminfo", std::size_t{16} * 1024)) {
    read_meminfo(*meminfo, nodes.front());
  }
  nodes.front().hugepages = read_hugepage_pools(root, "sys/kernel/mm/hugepages");
  nodes.front().distances[nodes.front().id] = 10;
  return nodes;
}

}  // namespace

std::vector<HugepagePool> read_hugepage_pools(const FolderReader& parent, const char* folder) {
  std::vector<HugepagePool> pools;
  for (const std::string& name : parent.names(folder)) {
    const auto kib = number_in<std::uint64_t>(name, "hugepages-", "kB");
    if (!kib || *kib == 0 || *kib > kMaxKib) continue;
    const std::string path = std::string(folder) + "/" + name;
    const auto total = parent.number<std::uint64_t>((path + "/nr_hugepages").c_str());
    const auto free = parent.number<std::uint64_t>((path + "/free_hugepages").c_str());
    if (!total || *total > kMaxPages) continue;
    // Read one after the other, the two can contradict each other while a pool grows.
    pools.push_back({Bytes::kib(*kib), *total, std::min(free.value_or(0), *total)});
  }
  std::sort(pools.begin(), pools.end(),
            [](const HugepagePool& a, const HugepagePool& b) { return a.page_size < b.page_size; });
  return pools;
}

std::vector<NumaNode> read_numa_nodes(const FolderReader& root, const Topology& topology) {
  constexpr const char* kFolder = "sys/devices/system/node";
  constexpr int kMaxNode = 4095;
  std::vector<std::pair<int, FolderReader>> folders;
  for (const std::string& name : root.names(kFolder)) {
    const auto id = number_in<int>(name, "node");
    if (!id || *id < 0 || *id > kMaxNode) continue;
    auto folder = root.folder((std::string(kFolder) + "/" + name).c_str());
    if (folder) folders.emplace_back(*id, std::move(*folder));
  }
  std::sort(folders.begin(), folders.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<NumaNode> nodes;
  for (const auto& [id, folder] : folders) nodes.push_back(read_node(folder, id));
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    read_distances(folders[i].second, nodes, nodes[i]);
  }
  return nodes.empty() ? nodes_of(topology, root) : nodes;
}

}  // namespace vmrig
