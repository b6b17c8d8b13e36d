#include "hostcfg/memory_action.hpp"

#include <fmt/format.h>

#include <bit>
#include <nlohmann/json.hpp>

#include "hostcfg/base/error.hpp"
#include "hostcfg/facts_reader.hpp"

namespace vmrig {
namespace {

constexpr int kMaxNode = 4095;  // linux NODES_SHIFT is 12 at most
constexpr std::uint64_t kMaxPages = std::uint64_t{1} << 40;
constexpr Bytes kMaxPageSize = Bytes::gib(16);

Bytes page_size_from(FactsReader& reader) {
  const Bytes size{reader.count("page_size", kMaxPageSize.value)};
  if (!std::has_single_bit(size.value)) reader.refuse("page_size", "it is no size of a page");
  return size;
}

}  // namespace

std::string describe(const ReservePages& action) {
  return fmt::format("{} x {} on node {}", action.pages, to_string(action.page_size), action.node);
}

std::string describe(const MountHugetlbfs& action) {
  return fmt::format("{} pages on {}", to_string(action.page_size), action.path);
}

Json to_json(const ReservePages& action) {
  return {{"node", action.node}, {"page_size", action.page_size.value}, {"pages", action.pages}};
}

Json to_json(const MountHugetlbfs& action) {
  return {{"path", action.path}, {"page_size", action.page_size.value}};
}

void read_action(FactsReader& reader, ReservePages& action) {
  action.node = reader.integer("node", 0, kMaxNode);
  action.page_size = page_size_from(reader);
  action.pages = reader.count("pages", kMaxPages);
}

void read_action(FactsReader& reader, MountHugetlbfs& action) {
  action.path = reader.string("path");
  if (action.path.empty() || action.path.front() != '/') {
    reader.refuse("path", quote(action.path) + " is no absolute path");
  }
  action.page_size = page_size_from(reader);
}

}  // namespace vmrig
