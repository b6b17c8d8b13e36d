#include "hostcfg/memory_region.hpp"

#include <fmt/format.h>

namespace vmrig {

std::vector<std::string_view> enum_names(MemoryPolicy) {
  return {"bind", "preferred", "interleave"};
}

std::string page_pool_folder(std::optional<int> node, Bytes page_size) {
  const std::string parent =
      node ? fmt::format("sys/devices/system/node/node{}", *node) : std::string("sys/kernel/mm");
  return fmt::format("{}/hugepages/hugepages-{}kB", parent, page_size.value >> 10);
}

}  // namespace vmrig
