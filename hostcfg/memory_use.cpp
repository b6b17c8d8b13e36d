#include "hostcfg/memory_use.hpp"

#include <fmt/format.h>

#include <optional>
#include <string_view>

namespace vmrig {
namespace {

constexpr std::size_t kMostText = std::size_t{64} << 20;
constexpr std::size_t kStatusLimit = 8192;

std::optional<std::uint64_t> kib(std::string_view text) {
  const auto number = parse_number<std::uint64_t>(take_word(text));
  if (!number) return std::nullopt;
  return *number << 10;
}

// "7f12a0000000-7f12b0000000 rw-s …" begins a mapping; nothing else in smaps looks like that.
std::optional<MemoryMapping> begin_of(std::string_view line) {
  const std::string_view range = take_word(line);
  const std::size_t dash = range.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto begin = parse_number<std::uint64_t>(range.substr(0, dash), 16);
  const auto end = parse_number<std::uint64_t>(range.substr(dash + 1), 16);
  if (!begin || !end || *end < *begin) return std::nullopt;
  MemoryMapping mapping;
  mapping.begin = *begin;
  mapping.size = Bytes{*end - *begin};
  return mapping;
}

void read_flags(std::string_view flags, MemoryMapping& mapping) {
  for (std::string_view flag = take_word(flags); !flag.empty(); flag = take_word(flags)) {
    if (flag == "lo") mapping.is_locked = true;
    if (flag == "ht") mapping.is_hugetlb = true;
  }
}

void read_attribute(std::string_view line, MemoryMapping& mapping) {
  const std::string_view key = take_word(line);
  if (key == "VmFlags:") {
    read_flags(line, mapping);
  } else if (key == "KernelPageSize:") {
    mapping.page_size = Bytes{kib(line).value_or(0)};
  } else if (key == "Rss:" || key == "Shared_Hugetlb:" || key == "Private_Hugetlb:") {
    mapping.populated.value += kib(line).value_or(0);
  }
}

// "7f12a0000000 bind:1 file=… huge dirty=160 N1=160 kernelpagesize_kB=2048"
void read_nodes(std::string_view line, MemoryMapping& mapping) {
  for (std::string_view word = take_word(line); !word.empty(); word = take_word(line)) {
    const std::size_t equals = word.find('=');
    if (word.front() != 'N' || equals == std::string_view::npos) continue;
    const auto node = parse_number<int>(word.substr(1, equals - 1));
    const auto pages = parse_number<std::uint64_t>(word.substr(equals + 1));
    if (node && pages) mapping.nodes[*node] = Bytes{*pages * mapping.page_size.value};
  }
}

// Of a row "VmLck:     1234 kB".
Bytes status_value(const FolderReader& root, pid_t pid, std::string_view key) {
  const auto status = root.text(fmt::format("proc/{}/status", pid).c_str(), kStatusLimit);
  for (std::string_view rest = status ? *status : std::string_view(); !rest.empty();) {
    std::string_view line = take_line(rest);
    if (take_word(line) == key) return Bytes{kib(line).value_or(0)};
  }
  return Bytes{};
}

}  // namespace

std::vector<MemoryMapping> read_memory_mappings(const FolderReader& root, pid_t pid, Bytes least) {
  std::map<std::uint64_t, MemoryMapping> mappings;
  const auto smaps = root.text(fmt::format("proc/{}/smaps", pid).c_str(), kMostText);
  MemoryMapping* current = nullptr;
  for (std::string_view rest = smaps ? *smaps : std::string_view(); !rest.empty();) {
    const std::string_view line = take_line(rest);
    if (const auto begun = begin_of(line)) {
      current = begun->size.value < least.value ? nullptr : &(mappings[begun->begin] = *begun);
    } else if (current != nullptr) {
      read_attribute(line, *current);
    }
  }
  const auto numa_maps = root.text(fmt::format("proc/{}/numa_maps", pid).c_str(), kMostText);
  for (std::string_view rest = numa_maps ? *numa_maps : std::string_view(); !rest.empty();) {
    std::string_view line = take_line(rest);
    const auto begin = parse_number<std::uint64_t>(take_word(line), 16);
    const auto found = begin ? mappings.find(*begin) : mappings.end();
    if (found != mappings.end()) read_nodes(line, found->second);
  }
  std::vector<MemoryMapping> list;
  for (auto& [begin, mapping] : mappings) list.push_back(std::move(mapping));
  return list;
}

HugetlbUse read_hugetlb_use(const FolderReader& root, pid_t pid) {
  HugetlbUse use;
  const auto numa_maps = root.text(fmt::format("proc/{}/numa_maps", pid).c_str(), kMostText);
  for (std::string_view rest = numa_maps ? *numa_maps : std::string_view(); !rest.empty();) {
    const std::string_view line = take_line(rest);
    if (line.find(" huge ") == std::string_view::npos) continue;
    MemoryMapping mapping;
    constexpr std::string_view kPageSize = "kernelpagesize_kB=";
    if (const std::size_t at = line.find(kPageSize); at != std::string_view::npos) {
      mapping.page_size = Bytes{kib(line.substr(at + kPageSize.size())).value_or(0)};
    }
    if (mapping.page_size.value == 0) continue;
    read_nodes(line, mapping);
    for (const auto& [node, bytes] : mapping.nodes) {
      use[{node, mapping.page_size}] += bytes.value / mapping.page_size.value;
    }
  }
  if (numa_maps) return use;
  // One size for all: nothing tells them apart here.
  constexpr Bytes kPage = Bytes::mib(2);
  const Bytes all = status_value(root, pid, "HugetlbPages:");
  if (all.value > 0) use[{0, kPage}] = all.value / kPage.value;
  return use;
}

Bytes read_locked(const FolderReader& root, pid_t pid) { return status_value(root, pid, "VmLck:"); }

}  // namespace vmrig
