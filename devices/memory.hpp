// The guest's memory as a backend object of QEMU's.
#pragma once

#include <optional>
#include <string>

#include "devices/description.hpp"
#include "hostcfg/base/bytes.hpp"

namespace vmrig {

struct MemoryBackend {
  enum class Kind { kAnonymous, kHugetlbfs, kMemfd };
  std::string id;
  Kind kind = Kind::kAnonymous;
  Bytes size;
  Bytes page_size;       // of hugepages; 0 for ordinary pages
  std::string mem_path;  // for kHugetlbfs: the mount; QEMU unlinks its file there at once
  bool prealloc = false;
  int prealloc_threads = 1;  // from 1; with prealloc only
  bool merge = true;         // KSM may merge equal pages
  bool share = false;        // other processes map it (vhost-user)
  std::optional<int> node;   // host NUMA node that all pages come from, strictly
};

DeviceDescription describe_memory(const MemoryBackend& memory, std::string origin);

}  // namespace vmrig
