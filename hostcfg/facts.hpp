// What a host is: one snapshot, plain data, the same from a live host and from a file.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hostcfg/base/bytes.hpp"
#include "hostcfg/base/cpu_set.hpp"
#include "hostcfg/base/json.hpp"
#include "hostcfg/base/pci_address.hpp"

namespace vmrig {

// One logical CPU. Ids are unique over the host; CPUs with the same `core` are SMT siblings,
// with the same `l3` share a last-level cache. -1 where the host does not say.
struct CpuFacts {
  int id = 0;
  int core = -1;
  int package = -1;
  int node = -1;
  int l3 = -1;
};

// One hugepage size of one NUMA node.
// Source: /sys/devices/system/node/nodeN/hugepages/hugepages-*kB/.
struct HugepagePool {
  Bytes page_size;
  std::uint64_t total = 0;  // pages
  std::uint64_t free = 0;   // pages
};

struct NumaNode {
  int id = 0;
  CpuSet cpus;
  Bytes memory_total;
  Bytes memory_free;
  std::vector<HugepagePool> hugepages;
  std::map<int, int> distances;  // to each node by id; 10 is local
};

struct HugetlbfsMount {
  std::string path;
  Bytes page_size;
  bool operator==(const HugetlbfsMount&) const = default;
};

// A device file that vmrig would open. `error` says why it did not open, empty when it did.
struct DeviceFile {
  bool exists = false;
  bool opens = false;
  std::string error;
};

// One PCI function. Source: /sys/bus/pci/devices/BDF/.
struct PciDeviceFacts {
  PciAddress address;
  std::uint16_t vendor = 0;
  std::uint16_t device = 0;
  std::uint32_t class_code = 0;  // 24 bits: class, subclass, programming interface
  std::string driver;            // empty where none is bound
  int numa_node = -1;
  int iommu_group = -1;
  std::optional<PciAddress> physical_function;  // set on a VF
  int vf_index = -1;                            // set on a VF
  int total_vfs = 0;                            // on a PF: how many it can have
  int num_vfs = 0;                              // on a PF: how many it has
  std::vector<std::string> net_devices;
};

// One network device of this network namespace. Source: /sys/class/net/NAME/.
struct NetDeviceFacts {
  std::string name;
  int index = 0;
  std::string mac;
  int mtu = 0;
  bool up = false;  // administratively
  bool carrier = false;
  std::string kind;  // "physical", "bridge", "tap", "macvtap", "wireless", "loopback", "virtual"
  std::optional<PciAddress> pci;
  int numa_node = -1;
  std::string master;  // the bridge or bond that it is a port of
};

// What stands at a path that a config names.
struct PathFacts {
  enum class Type { kMissing, kFile, kDirectory, kBlockDevice, kCharDevice, kOther };
  Type type = Type::kMissing;
  bool readable = false;
  bool writable = false;
  Bytes size;
  std::string magic_format;  // what its first bytes say: "qcow2", "vmdk", …; empty for none
  std::string error;         // why it can't be read, empty when it can
};

std::string_view path_type_name(PathFacts::Type type);

struct HostFacts {
  static constexpr int kFormat = 1;

  std::string kernel_release;
  std::string boot_id;
  std::vector<std::string> kernel_parameters;

  std::vector<CpuFacts> cpus;  // online ones, by id
  CpuSet present;              // with those that are offline
  CpuSet allowed;              // by this process's cpuset; its default affinity is no limit
  CpuSet affinity;             // sched_getaffinity of this process, for information
  CpuSet isolated;             // isolcpus=, or an isolated cpuset partition
  CpuSet nohz_full;
  std::vector<NumaNode> nodes;
  CpuSet allowed_nodes;  // NUMA nodes that this process may take memory from

  std::string cpu_vendor;  // "GenuineIntel", "AuthenticAMD"
  std::string cpu_model;
  bool vmx = false;
  bool svm = false;
  bool pdpe1gb = false;     // 1GiB pages
  bool hypervisor = false;  // the host is itself a virtual machine
  DeviceFile kvm;
  bool nested_kvm_usable() const { return vmx || svm; }

  std::optional<Bytes> memlock_limit;  // hard limit; none is unlimited
  std::uint64_t nofile_limit = 0;      // hard limit
  unsigned user_id = 0;                // effective
  bool can_net_admin = false;
  bool can_sys_admin = false;
  bool can_ipc_lock = false;
  bool can_sys_resource = false;

  std::vector<HugetlbfsMount> hugetlbfs;
  std::vector<PciDeviceFacts> pci;
  std::vector<NetDeviceFacts> net;

  // The paths that were asked for when the facts were read. A captured file has none.
  std::map<std::string, PathFacts> paths;

  const CpuFacts* find_cpu(int id) const;
  const NumaNode* find_node(int id) const;
  CpuSet online() const;
  // The SMT siblings of `cpu`, itself among them.
  CpuSet siblings(int cpu) const;
};

Json to_json(const HostFacts& facts);

// Throws vmrig::Error naming the offending key when `json` is not a snapshot of facts; a
// hostile file gives an error, never a wrong value.
HostFacts facts_from_json(const Json& json);

}  // namespace vmrig
