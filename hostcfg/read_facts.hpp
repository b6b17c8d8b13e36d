// Reads the facts of a host.
#pragma once

#include <string>
#include <vector>

#include "hostcfg/facts.hpp"
#include "hostcfg/topology.hpp"

namespace vmrig {

struct FactsRequest {
  // PCI functions and network devices take most of the time on a large host; a VM that uses
  // none of them need not wait for it. What is skipped is empty in the facts.
  enum class Devices { kRead, kSkip };

  std::string root = "/";          // where proc, sys and dev are; another folder in tests
  std::vector<std::string> paths;  // absolute; become HostFacts::paths
  Devices devices = Devices::kRead;
};

// One snapshot of the host under `request.root`, with the CPUs that `topology` has. Opens
// files only (/dev/kvm and the disks in `paths` among them), changes nothing, never blocks on
// a FIFO. What a host does not tell is left at its default; contents that make no sense
// count as not told. Throws vmrig::Error only when the root itself can't be opened.
// Source: linux Documentation/ABI/{stable,testing}/sysfs-*, proc(5), cgroup-v2.rst.
HostFacts read_host_facts(const FactsRequest& request, const Topology& topology);

}  // namespace vmrig
