// Reads the facts of a host.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "hostcfg/device_use.hpp"
#include "hostcfg/facts.hpp"
#include "hostcfg/net_devices.hpp"
#include "hostcfg/topology.hpp"

namespace vmrig {

// What only netlink tells. Netlink has no root that could be swapped, so that it is asked for "/"
// only, unless a test says what it would answer.
struct NetlinkFacts {
  std::function<NetAddresses()> addresses;
  std::function<std::vector<VfRecord>(int pf_index)> vf_records;  // by index of a network device
  std::function<NetLinks()> links;
};

struct FactsRequest {
  // PCI functions and network devices take most of the time on a large host; a VM that uses
  // none of them need not wait for it. What is skipped is empty in the facts.
  enum class Devices { kRead, kSkip };

  std::string root = "/";          // where proc, sys and dev are; another folder in tests
  std::vector<std::string> paths;  // absolute; become HostFacts::paths
  std::vector<std::string> users;  // names or numbers; become HostFacts::users
  Devices devices = Devices::kRead;
  Devices usb = Devices::kRead;
  Devices listeners = Devices::kSkip;
  NetlinkFacts netlink;  // empty functions: the host's own for "/", nothing for another root
};

// One snapshot of the host under `request.root`, with the CPUs that `topology` has. Opens
// files only (/dev/kvm and the disks in `paths` among them), changes nothing, never blocks on
// a FIFO. What a host does not tell is left at its default; contents that make no sense
// count as not told. Throws vmrig::Error only when the root itself can't be opened.
// Source: linux Documentation/ABI/{stable,testing}/sysfs-*, proc(5), cgroup-v2.rst.
HostFacts read_host_facts(const FactsRequest& request, const Topology& topology);

}  // namespace vmrig
