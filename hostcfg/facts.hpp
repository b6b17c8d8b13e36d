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

// Whose a file is, and what its mode lets others do with it.
struct FileRights {
  unsigned uid = 0;
  unsigned gid = 0;
  unsigned mode = 0;  // the twelve bits of chmod(2)
  bool operator==(const FileRights&) const = default;
};

// A device file that vmrig would open. `error` says why it did not open, empty when it did.
struct DeviceFile {
  bool exists = false;
  bool opens = false;
  std::string error = {};
  std::optional<FileRights> rights = {};  // none: not told
  bool has_acl = false;                   // its file system has POSIX ACLs
  bool told() const { return exists || !error.empty(); }
};

// User or group ids that this process can give away, the same for both.
// Source: user_namespaces(7), /proc/self/{uid,gid}_map.
struct IdRange {
  unsigned first = 0;
  unsigned count = 0;
  bool operator==(const IdRange&) const = default;
};

// A user of the host's, by name.
struct UserFacts {
  unsigned uid = 0;
  unsigned gid = 0;
  std::vector<unsigned> groups;  // with gid
  bool operator==(const UserFacts&) const = default;
};

// What a PF keeps about one of its VFs. The VF takes its MAC from there at its next reset.
// Source: linux include/uapi/linux/if_link.h IFLA_VFINFO_LIST.
struct VfRecord {
  int index = 0;
  std::string mac;         // "00:00:00:00:00:00" where the PF has set none
  int vlan = 0;            // 0: none
  int qos = 0;             // 0 to 7
  std::string vlan_proto;  // "802.1Q" or "802.1ad"
  std::optional<bool> trust;
  std::optional<bool> spoofchk;
  std::string link_state;  // "auto", "enable", "disable"; empty when not told
  int min_rate_mbit = 0;   // 0: no limit
  int max_rate_mbit = 0;
  bool operator==(const VfRecord&) const = default;
};

// One PCI function. Source: /sys/bus/pci/devices/BDF/.
struct PciDeviceFacts {
  PciAddress address;
  std::uint16_t vendor = 0;
  std::uint16_t device = 0;
  std::uint16_t subsystem_vendor = 0;
  std::uint16_t subsystem_device = 0;
  std::uint8_t revision = 0;
  std::uint32_t class_code = 0;  // 24 bits: class, subclass, programming interface
  std::string driver;            // empty where none is bound
  std::string driver_override;   // the only driver that may bind to it; empty: any that matches
  // How the kernel can reset it ("flr", "pm", "bus", …), its first choice first; empty: not at
  // all. Kernels before 5.15 only tell that there is a way: "unnamed".
  std::vector<std::string> reset_methods;
  bool boot_vga = false;    // the host's console was on it when it booted
  std::string vfio_device;  // "vfio0": its /dev/vfio/devices node for iommufd; empty: none
  // Why the host needs the device where it is, in words ("eno1 is up with 192.0.2.1",
  // "nvme0n1p2 is mounted on /"). Empty: nobody will miss it.
  std::vector<std::string> in_use;
  int numa_node = -1;
  int iommu_group = -1;
  std::optional<PciAddress> physical_function;  // set on a VF
  int vf_index = -1;                            // set on a VF
  int total_vfs = 0;                            // on a PF: how many it can have
  int num_vfs = 0;                              // on a PF: how many it has
  // On a PF: where its VFs come, as routing ids (bus << 8 | device << 3 | function): VF n is at the
  // PF's own plus vf_offset plus n times vf_stride. 0: not told.
  // Source: linux Documentation/ABI/testing/sysfs-bus-pci, sriov_offset and sriov_stride (4.14).
  int vf_offset = 0;
  int vf_stride = 0;
  std::vector<VfRecord> vf_records;  // on a PF with VFs that has a network device
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
  std::string master;               // the bridge or bond that it is a port of
  std::vector<std::string> uppers;  // devices on top of it (macvlan, VLAN, …), its master too
  // What it is to rtnetlink: "bridge", "tun", "macvtap", "vlan", "veth", "openvswitch", …; empty:
  // not told, as of most cards.
  std::string link_kind;
  std::string lower;            // what a macvlan, macvtap or VLAN device is on
  std::string mode;             // of a macvlan or macvtap: "bridge", "vepa", "private", "passthru"
  int vlan_id = 0;              // of a VLAN device
  bool vlan_filtering = false;  // of a bridge
  std::vector<std::string> addresses;  // CIDR, link-local ones left out
  int max_mtu = 0;                     // 0: not told
  bool made_by_vmrig = false;          // its alias says so
  // Of a tap.
  bool multi_queue = false;
  bool vnet_hdr = false;
  std::optional<unsigned> owner_uid;  // who may open it besides root
};

// One USB device that is no hub. Source: /sys/bus/usb/devices/.
struct UsbDeviceFacts {
  int bus = 0;      // from 1
  int address = 0;  // from 1; another one each time it is plugged in
  std::uint16_t vendor = 0;
  std::uint16_t product = 0;
  std::string name;  // what it calls itself; empty where it does not
  DeviceFile node;   // /dev/bus/usb/BUS/ADDRESS
};

// Whether devices can be handed to a VM. Source: linux Documentation/driver-api/{vfio,iommufd}.rst.
struct VfioFacts {
  bool iommu = false;             // the kernel made IOMMU groups
  bool driver_present = false;    // vfio-pci is there (loaded or built in)
  bool module_available = false;  // it is there, or its module can be loaded
  DeviceFile container;           // /dev/vfio/vfio
  bool noiommu = false;           // vfio.enable_unsafe_noiommu_mode
  DeviceFile iommufd;             // /dev/iommu, since Linux 6.2
  bool cdev = false;              // VFIO devices have a node of their own, since Linux 6.6
};

// Where a VM's own cgroup (v2) can be made, and what it can limit.
struct CgroupFacts {
  std::string mount;                     // of the v2 hierarchy: "/sys/fs/cgroup"; empty: none
  std::string base;                      // the folder below which groups can be made; empty: none
  std::string why_not;                   // why there is no base, in words
  std::vector<std::string> controllers;  // that the base can hand on: "cpu", "memory", …
  std::vector<std::string> v1_controllers;  // that v1 hierarchies have
  bool operator==(const CgroupFacts&) const = default;
};

// What the cgroups that this process is in leave it of memory, a container's limits among them.
// Source: linux Documentation/admin-guide/cgroup-v2.rst, memory.max, hugetlb.*.max.
struct MemoryLimits {
  std::optional<Bytes> memory;       // none: no limit
  std::map<Bytes, Bytes> hugepages;  // by page size; what is missing has no limit
  bool operator==(const MemoryLimits&) const = default;
};

// What an image says of the other files that it needs.
struct ImageLinks {
  std::string backing_file;    // as the image has it; empty: none
  std::string backing_format;  // empty: it does not say
  std::string data_file;       // empty: none
  bool corrupt = false;        // QEMU has found it so, and refuses to write to it
  std::string fault;           // why its header can't be read, empty when it can
  bool operator==(const ImageLinks&) const = default;
};

// A folder on the way to a path that not everybody may pass.
struct ClosedFolder {
  std::string path;
  FileRights rights;
};

// What others hold of a disk image, as QEMUs tell each other.
struct ImageLocks {
  bool written = false;     // one writes to it
  bool no_writer = false;   // one does not bear that another writes
  bool no_reader = false;   // nor that another reads
  std::string holder = {};  // "qemu-system-x86 (pid 4242)"; empty where it can't be seen
  bool any() const { return written || no_writer || no_reader; }
};

// A port that a process has bound.
struct Listener {
  enum class Protocol { kTcp, kUdp };
  Protocol protocol = Protocol::kTcp;
  std::string address;  // "127.0.0.1", "::"
  int port = 0;         // 1 to 65535
  bool operator==(const Listener&) const = default;
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
  // The disk below it, whole even for a partition: "8:0"; empty where its file system has none of
  // its own (overlay, tmpfs, btrfs).
  std::string disk = {};
  std::optional<FileRights> rights = {};  // none: not told
  std::vector<ClosedFolder> closed = {};  // from the root on
  std::optional<ImageLinks> links = {};   // of a qcow2 image
  bool direct = true;                     // can be opened past the host's page cache (O_DIRECT)
  ImageLocks locks = {};
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
  DeviceFile tun;                    // /dev/net/tun
  DeviceFile vhost_net;              // /dev/vhost-net; its first opening loads the module
  bool vhost_net_available = false;  // it is there, or its module can be loaded
  bool nested_kvm_usable() const { return vmx || svm; }

  std::optional<Bytes> memlock_limit;  // hard limit; none is unlimited
  std::uint64_t nofile_limit = 0;      // hard limit
  unsigned user_id = 0;                // effective
  bool can_net_admin = false;
  bool can_sys_admin = false;
  bool can_ipc_lock = false;
  bool can_sys_resource = false;
  bool can_sys_nice = false;
  bool can_change_ids = false;  // CAP_SETUID and CAP_SETGID
  bool can_kill = false;        // processes of other users
  bool can_sys_ptrace = false;  // look into them
  std::vector<IdRange> ids;     // by first
  std::map<std::string, std::optional<UserFacts>>
      users;             // those that were asked for; none: no such user
  int rtprio_limit = 0;  // hard limit; 0: no real-time scheduling without CAP_SYS_NICE
  // What real-time threads may take of each period of a CPU, -1: all; none: not told.
  // Source: linux Documentation/scheduler/sched-rt-group.rst.
  std::optional<int> rt_runtime_us;
  std::optional<int> rt_period_us;

  std::vector<HugetlbfsMount> hugetlbfs;
  CgroupFacts cgroup;
  MemoryLimits memory_limits;
  VfioFacts vfio;
  std::vector<PciDeviceFacts> pci;  // by address
  std::vector<NetDeviceFacts> net;  // by index
  std::vector<UsbDeviceFacts> usb;  // by bus and address

  // The paths that were asked for when the facts were read, and the images below those. A captured
  // file has none, as of the ports.
  std::map<std::string, PathFacts> paths;
  std::vector<Listener> listeners;  // where they were asked for

  const CpuFacts* find_cpu(int id) const;
  const NumaNode* find_node(int id) const;
  const PciDeviceFacts* find_pci(const PciAddress& address) const;
  const NetDeviceFacts* find_net(std::string_view name) const;
  // The VFs of a PF, by number.
  std::vector<const PciDeviceFacts*> vfs_of(const PciAddress& pf) const;
  // The PF's record of its VF; nullptr when it has none.
  const VfRecord* find_vf_record(const PciAddress& pf, int index) const;
  // All functions of an IOMMU group, by address.
  std::vector<const PciDeviceFacts*> group_members(int group) const;
  CpuSet online() const;
  // The SMT siblings of `cpu`, itself among them.
  CpuSet siblings(int cpu) const;
  // False for a path that was not asked for.
  bool is_block_device(const std::string& path) const;
};

Json to_json(const HostFacts& facts);

// Throws vmrig::Error naming the offending key when `json` is not a snapshot of facts; a
// hostile file gives an error, never a wrong value.
HostFacts facts_from_json(const Json& json);

}  // namespace vmrig
