#include "hostcfg/page_pool.hpp"

#include <algorithm>
#include <string>

#include "hostcfg/folder_reader.hpp"
#include "hostcfg/memory_region.hpp"

namespace vmrig {

std::optional<PagePool> read_page_pool(const Sysfs& sysfs, std::optional<int> node,
                                       Bytes page_size) {
  const std::string folder = page_pool_folder(node, page_size);
  const auto number = [&](const char* name) -> std::optional<std::uint64_t> {
    const std::optional<std::string> text = sysfs.read(folder + "/" + name);
    return text ? parse_number<std::uint64_t>(*text) : std::nullopt;
  };
  const std::optional<std::uint64_t> total = number("nr_hugepages");
  if (!total) return std::nullopt;
  PagePool pool{.total = *total, .surplus = 0, .free = 0};
  pool.surplus = std::min(number("surplus_hugepages").value_or(0), *total);
  pool.free = std::min(number("free_hugepages").value_or(0), *total);
  return pool;
}

}  // namespace vmrig
