// The processors of a host; also what threads are bound through.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "hostcfg/base/bytes.hpp"
#include "hostcfg/base/cpu_set.hpp"
#include "hostcfg/facts.hpp"

struct hwloc_topology;

namespace vmrig {

// By hwloc, or where that would take long, by the kernel's own tables. Move-only; not changed after
// it is made, so threads may share it.
class Topology {
 public:
  // A NUMA node in the kernel's numbering. A node with memory only has the CPUs that it is
  // local to, so CPU sets of two nodes can overlap.
  struct Node {
    int id = 0;
    CpuSet cpus;
    Bytes memory;
  };

  // Every online CPU of this host, those outside this process's cpuset too: by read_cpu_topology(),
  // and where the kernel does not tell that much, by_hwloc().
  static Topology of_this_host();

  // The same by hwloc's discovery. Devices are left out, and no CPU is visited (hwloc's x86
  // component would run on every one, isolated or not). Throws vmrig::Error; also when
  // HWLOC_XMLFILE, HWLOC_FSROOT or HWLOC_SYNTHETIC in the environment has hwloc describe another
  // machine.
  // Source: hwloc 2.9 hwloc_topology_load, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED.
  static Topology by_hwloc();

  // Another machine: what `lstopo --of xml` printed there. Threads can still be bound by it.
  static Topology from_xml(const std::string& xml);

  // A made-up machine in hwloc's synthetic language: "numa:2 l3:1 core:4 pu:2".
  static Topology from_description(const std::string& description);

  // Online CPUs by id. `core`, `package` and `l3` count from 0 over the whole host; `node` is
  // the kernel's number.
  const std::vector<CpuFacts>& cpus() const { return cpus_; }
  const std::vector<Node>& nodes() const { return nodes_; }

  // What threads are bound by, and no more: it need not hold the host's CPUs. Valid as long as this
  // object; never to be modified.
  hwloc_topology* handle() const { return topology_.get(); }

 private:
  struct Destroy {
    void operator()(hwloc_topology* topology) const;
  };
  using Handle = std::unique_ptr<hwloc_topology, Destroy>;

  Topology(Handle topology, std::vector<CpuFacts> cpus, std::vector<Node> nodes)
      : topology_(std::move(topology)), cpus_(std::move(cpus)), nodes_(std::move(nodes)) {}
  static Handle make_empty();
  static Topology load(Handle topology, const std::string& source);

  Handle topology_;
  std::vector<CpuFacts> cpus_;
  std::vector<Node> nodes_;
};

}  // namespace vmrig
