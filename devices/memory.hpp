// The guest's memory as a backend object of QEMU's.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "devices/description.hpp"
#include "hostcfg/base/bytes.hpp"
#include "hostcfg/base/cpu_set.hpp"
#include "hostcfg/memory_region.hpp"

namespace vmrig {

enum class HugepageSize { kNone, k2MiB, k1GiB };
std::vector<std::string_view> enum_names(HugepageSize);

// In bytes; 0 for kNone.
Bytes page_size_of(HugepageSize size);

struct MemoryBackend {
  enum class Kind { kAnonymous, kHugetlbfs, kMemfd };
  std::string id;
  Kind kind = Kind::kAnonymous;
  Bytes size;
  Bytes page_size;  // of hugepages; 0 for ordinary pages
  // For kHugetlbfs: the mount, where QEMU unlinks its file at once; or a file below it, of at least
  // `size`, whose pages are there already: QEMU uses those only with `share`.
  std::string mem_path;
  bool prealloc = false;
  int prealloc_threads = 1;  // from 1; with prealloc only
  bool merge = true;         // KSM may merge equal pages
  bool share = false;        // other mappings of the same file see it (vhost-user, populated pages)
  MemoryPolicy policy = MemoryPolicy::kBind;
  CpuSet nodes;  // host NUMA nodes that the policy is about; empty: any
};

DeviceDescription describe_memory(const MemoryBackend& memory, std::string origin);

}  // namespace vmrig
