// The kernel's pool of hugepages of one size, on one NUMA node or on all of them.
#pragma once

#include <cstdint>
#include <optional>

#include "hostcfg/base/bytes.hpp"
#include "hostcfg/sysfs.hpp"

namespace vmrig {

// Source: linux Documentation/admin-guide/mm/hugetlbpage.rst.
struct PagePool {
  std::uint64_t total = 0;    // nr_hugepages, with the surplus ones
  std::uint64_t surplus = 0;  // more than were asked for; they go when they come free
  std::uint64_t free = 0;
  std::uint64_t persistent() const { return total - surplus; }
  bool operator==(const PagePool&) const = default;
};

// nullopt when there is no pool of that size, or no such node. Without a node: the whole host's.
std::optional<PagePool> read_page_pool(const Sysfs& sysfs, std::optional<int> node,
                                       Bytes page_size);

}  // namespace vmrig
