// Pools of hugepages and mounts that are variables.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "hostcfg/base/error.hpp"
#include "hostcfg/checkpoint.hpp"
#include "hostcfg/memory_control.hpp"

namespace vmrig::testing {

class FakeMemory final : public MemoryControl {
 public:
  std::map<std::pair<int, Bytes>, PagePool> pools;
  std::set<std::string> mounts;
  std::uint64_t most = 1000;     // pages that there is room for, in each pool
  std::set<std::string> in_use;  // mounts that can't be taken away

  std::optional<PagePool> pool(int node, Bytes page_size) override {
    const auto found = pools.find({node, page_size});
    return found == pools.end() ? std::nullopt : std::optional(found->second);
  }
  void set_pool(int node, Bytes page_size, std::uint64_t pages) override {
    checkpoint("before");
    PagePool& pool = pools.at({node, page_size});
    const std::uint64_t used = pool.total - pool.free;
    pool.total = std::max(std::min(pages, most), used);
    pool.surplus = pool.total - std::min(pool.total, std::min(pages, most));
    pool.free = pool.total - used;
    checkpoint("after");
  }
  bool is_mounted(const std::string& path) override { return mounts.count(path) != 0; }
  void mount_hugetlbfs(const std::string& path, Bytes /*page_size*/) override {
    checkpoint("before");
    mounts.insert(path);
    checkpoint("after");
  }
  Unmounted unmount(const std::string& path) override {
    if (in_use.count(path) != 0) return Unmounted::kInUse;
    checkpoint("before");
    mounts.erase(path);
    checkpoint("after");
    return Unmounted::kYes;
  }
};

}  // namespace vmrig::testing
