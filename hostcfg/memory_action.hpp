// Changes of the host's memory, as data.
#pragma once

#include <cstdint>
#include <string>

#include "hostcfg/base/bytes.hpp"
#include "hostcfg/base/json.hpp"

namespace vmrig {

class FactsReader;

// Adds pages to a node's pool of hugepages. Undone by taking as many away again, whatever the pool
// has become: others change it, too.
struct ReservePages {
  int node = 0;
  Bytes page_size;
  std::uint64_t pages = 0;
  bool operator==(const ReservePages&) const = default;
};

// Mounts a hugetlbfs (mode 0700) on a folder that is made for it. VMs share it: it goes with its
// last user.
struct MountHugetlbfs {
  std::string path;  // absolute; its parent is there
  Bytes page_size;
  bool operator==(const MountHugetlbfs&) const = default;
};

std::string describe(const ReservePages& action);    // "8 x 1GiB on node 0"
std::string describe(const MountHugetlbfs& action);  // "1GiB pages on /run/vmrig/.hugetlbfs-1GiB"

Json to_json(const ReservePages& action);
Json to_json(const MountHugetlbfs& action);

// Each throws vmrig::Error naming the key.
void read_action(FactsReader& reader, ReservePages& action);
void read_action(FactsReader& reader, MountHugetlbfs& action);

}  // namespace vmrig
