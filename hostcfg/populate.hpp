// Gets the pages of a guest's memory before anybody maps it: with progress, an end on request, and
// the exact shortage.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

#include "hostcfg/base/fd.hpp"
#include "hostcfg/memory_region.hpp"

namespace vmrig {

// A file of hugepages without a name: its pages go back to the pool with the last fd and mapping,
// whoever dies. Move-only. It stays mapped here, so that /proc shows whose the pages are.
class MemoryFile {
 public:
  MemoryFile(std::string name, Fd fd, std::size_t size);  // throws vmrig::Error: not to be mapped
  MemoryFile(MemoryFile&& other) noexcept;
  MemoryFile& operator=(MemoryFile&&) = delete;
  ~MemoryFile();

  const std::string& name() const { return name_; }  // of the region
  int fd() const { return fd_.get(); }
  std::byte* begin() const { return static_cast<std::byte*>(mapping_); }

 private:
  std::string name_;
  Fd fd_;
  void* mapping_ = nullptr;
  std::size_t size_ = 0;
};

// What goes on, for other threads.
struct PopulateWatch {
  std::atomic<std::uint64_t> bytes = 0;    // got so far; added to
  std::atomic<bool> is_cancelled = false;  // ends within the time of a page, or of 8 MiB
};

// The region's file with all of its pages there, zeroed, from the nodes that its policy says.
// Blocks; its threads run each on one of the region's CPUs. Throws vmrig::Error (kHost) naming
// each node that is short, how many pages came and how many are needed; nothing is kept then.
// Source: linux memfd_create(2), open(2) O_TMPFILE, madvise(2) MADV_POPULATE_WRITE (5.14; before
// that fallocate(2), by one thread at a time), set_mempolicy(2).
MemoryFile populate(const MemoryRegion& region, PopulateWatch& watch);

}  // namespace vmrig
