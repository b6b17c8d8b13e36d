// The effects behind host actions on memory.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "hostcfg/base/bytes.hpp"
#include "hostcfg/page_pool.hpp"
#include "hostcfg/sysfs.hpp"

namespace vmrig {

// A seam as HostControl is. Every function throws vmrig::Error naming the pool or the folder.
class MemoryControl {
 public:
  virtual ~MemoryControl() = default;

  // nullopt when there is none of that size, or no such node.
  virtual std::optional<PagePool> pool(int node, Bytes page_size) = 0;
  // Asks for so many persistent pages. The kernel makes as many as it finds room for, and looks
  // for it for seconds; pages in use leave the pool when they come free.
  virtual void set_pool(int node, Bytes page_size, std::uint64_t pages) = 0;

  virtual bool is_mounted(const std::string& path) = 0;
  // Makes the folder unless it is there.
  virtual void mount_hugetlbfs(const std::string& path, Bytes page_size) = 0;
  enum class Unmounted { kYes, kInUse };
  // And removes the folder. kYes also when there was nothing.
  virtual Unmounted unmount(const std::string& path) = 0;
};

// This host.
class LinuxMemory final : public MemoryControl {
 public:
  explicit LinuxMemory(Sysfs sysfs = Sysfs()) : sysfs_(std::move(sysfs)) {}
  std::optional<PagePool> pool(int node, Bytes page_size) override;
  void set_pool(int node, Bytes page_size, std::uint64_t pages) override;
  bool is_mounted(const std::string& path) override;
  void mount_hugetlbfs(const std::string& path, Bytes page_size) override;
  Unmounted unmount(const std::string& path) override;

 private:
  std::optional<int> node_of_pool(int node) const;
  Sysfs sysfs_;
};

}  // namespace vmrig
