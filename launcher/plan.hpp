// Everything that is decided about a VM before anything happens: a pure function of the
// config, the host's facts, QEMU's abilities and what other VMs hold.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "devices/description.hpp"
#include "devices/nic_description.hpp"
#include "hostcfg/base/cpu_set.hpp"
#include "hostcfg/base/error.hpp"
#include "hostcfg/facts.hpp"
#include "hostcfg/memory_region.hpp"
#include "launcher/config/vm_config.hpp"
#include "launcher/guest_cell.hpp"
#include "launcher/host_step.hpp"
#include "launcher/leases.hpp"
#include "launcher/qemu_user.hpp"
#include "qmp/caps.hpp"

namespace vmrig {

enum class Accel { kKvm, kTcg };

// Words of QEMU's command line that belong together ("-device", "{…}"), and the config path (or
// the rule) that they come from.
struct QemuArgument {
  std::vector<std::string> words;
  std::string origin;
};

// An fd that QEMU inherits at this number.
struct ChildFd {
  int number = -1;
  FdSource source;
  std::string origin = {};  // of the argument that names it
};

// A process that serves one device of the VM, beside QEMU: a NIC's passt. It is connected to QEMU
// by an fd, and ends with that connection.
struct Helper {
  std::string id;  // of the device
  std::string program;
  std::vector<std::string> arguments;
  std::string cgroup = {};  // folder of the cgroup that it is started in; empty: vmrig's own
};

inline constexpr int kFirstChildFd = 10;  // QMP add-fd refuses 0 to 2; the rest is kept free
inline constexpr const char* kMonitorSocketName = "monitor.sock";

// The limit on locked memory that QEMU starts with. A computed one is wrong: mlock takes hundreds
// of MiB beyond the guest's RAM, and VFIO charges that RAM a second time.
enum class LockedMemory { kAsIs, kUnlimited };

struct ThreadPlacement {
  std::vector<CpuSet> vcpus;  // by vCPU index, to max_vcpus; an empty set is not pinned
  CpuSet emulator;            // empty: not pinned
  std::map<std::string, CpuSet> iothreads;  // by id; those that are pinned
  // Where vhost workers belong, in turn: the emulator's CPUs, one by one where the kernel does not
  // balance them. Empty: anywhere.
  std::vector<CpuSet> vhost;
  std::optional<int> node;               // NUMA node of the memory, when it is bound
  std::optional<int> near;               // NUMA node of the CPUs or the memory; devices by it
  std::vector<GuestCell> cells;          // empty: the guest has one node, and is not told
  std::vector<std::string> reasons;      // why this node, these CPUs
  std::vector<std::string> passed_over;  // what was not taken, and why
};

struct Plan {
  VmConfig config;
  std::string qemu;  // path of the binary
  qmp::QemuCaps::Version qemu_version;
  Accel accel = Accel::kTcg;
  std::string accel_reason;
  HugepageSize hugepages = HugepageSize::kNone;
  ThreadPlacement placement;
  CpuSet memory_nodes;  // that config.memory.policy is about; empty: any
  Lease claim;          // what this VM will hold while its QEMU lives
  std::vector<PassedDevice> passed;
  std::vector<TakenAlong> taken_along;
  std::vector<HostStep> host_steps;  // in order; undone in reverse once QEMU is gone
  LockedMemory locked_memory = LockedMemory::kAsIs;
  std::string cgroup;  // folder of the one that QEMU is started in; empty: vmrig's own
  QemuUser user;
  std::vector<QemuArgument> arguments;
  std::vector<ChildFd> fds;
  std::vector<MemoryRegion> regions;  // populated before QEMU starts; each has its fd in `fds`
  std::vector<NicHostEnd> host_ends;  // one a NIC of the config, in its order
  std::map<std::string, DiskFiles> disk_files;       // by id, of disks and USB storage
  std::map<std::string, std::vector<int>> disk_fds;  // by id: the fd sets of its files
  NicForms nic_forms;                                // of this QEMU
  std::vector<Helper> helpers;                       // started before QEMU
  std::vector<std::string> links_down;  // ids of NICs whose link is down before the guest runs
  std::vector<Diagnostic> preflight;    // findings: ok, warning, problem

  // argv as executed, qemu first.
  std::vector<std::string> argv() const;
  std::vector<Diagnostic> problems() const;
  // Throws DiagnosticsError when there are problems.
  void require_good() const;
};

struct PlanInput {
  const VmConfig& config;
  const HostFacts& facts;
  const qmp::QemuCaps& caps;
  std::string qemu;           // path of the binary that the caps are of
  std::vector<Lease> leases;  // of the other VMs
  std::string state_folder = "/run/vmrig";
};

Plan make_plan(const PlanInput& input);

// Sets what the config's devices hold, but for PCI devices, whose addresses it need not name.
// `files` are its disks', by id.
void claim_devices(const VmConfig& config, const std::map<std::string, DiskFiles>& files,
                   Lease& claim);

}  // namespace vmrig
