// What a VM's state.json says: who runs it, what it holds, how it ended.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "devices/disk_files.hpp"
#include "devices/nic_description.hpp"
#include "hostcfg/base/cpu_set.hpp"
#include "hostcfg/base/json.hpp"
#include "hostcfg/base/pci_address.hpp"
#include "hostcfg/base/thread_scheduler.hpp"
#include "launcher/guest_cell.hpp"
#include "launcher/host_step.hpp"
#include "launcher/leases.hpp"
#include "launcher/process.hpp"
#include "launcher/qemu_user.hpp"

namespace vmrig {

// kRestarting: QEMU has ended, and is about to be started anew.
enum class RunState { kStarting, kRunning, kPaused, kStopping, kEnded, kCrashed, kRestarting };

std::string_view run_state_name(RunState state);  // "starting", "running", …

struct VmThread {
  std::string role;  // "vcpu", "emulator", "iothread", "vhost"
  std::string id;  // index of the vCPU or vhost worker, id of the iothread; empty for the emulator
  pid_t tid = -1;
  CpuSet cpus;  // pinned to; empty: not pinned
  ThreadScheduler scheduler = {};
};

// A change of the host that lasts as long as the VM.
struct HostChange {
  std::string kind;  // "bind", "vf", …
  std::string text;
  std::string undo;
  Json action;  // as in the journal; null in records of older versions
};

std::vector<HostChange> host_changes(const std::vector<HostStep>& steps);

// A PCI function of the host that the VM has.
struct PassedRecord {
  std::string id;  // in the config
  PciAddress address;
  std::optional<PciAddress> pf;  // of a VF
  int vf_index = -1;             // of a VF
  std::vector<PciAddress> with;  // the rest of its IOMMU group, taken along
};

std::vector<PassedRecord> passed_records(const std::vector<PassedDevice>& devices,
                                         const std::vector<TakenAlong>& along);

// What stands behind a NIC.
struct NicRecord {
  std::string id;  // in the config
  NicHostEnd host_end;
  std::string text;  // "tap vm1-net0 on br0, 4 queues, vhost"
};

// What a disk or USB storage consists of, as QEMU has it open.
struct DiskRecord {
  DiskFiles files;
  std::vector<int> fd_sets;    // of its files; empty where QEMU opens them itself
  bool is_block_tree = false;  // of one command (with_block_tree), as what is attached
};

// Where threads that hotplug brings belong.
struct PlacementRecord {
  std::vector<CpuSet> vcpus;     // by index, to max_vcpus; an empty set is not pinned
  CpuSet emulator;               // empty: not pinned
  std::vector<CpuSet> vhost;     // workers' places, in turn; empty: not pinned
  std::optional<int> near;       // NUMA node of the CPUs or the memory
  std::optional<int> node;       // NUMA node that the memory is bound to
  CpuSet memory_nodes;           // NUMA nodes that its policy is about; empty: any
  std::vector<GuestCell> cells;  // the guest's NUMA nodes
};

struct VmState {
  static constexpr int kFormat = 1;
  // Above all that a start hands over, whose sets have the numbers of the fds.
  static constexpr int kFirstHotplugFdSet = 10'000;

  std::string name;
  std::string vmrig_version;
  std::string boot_id;
  RunState state = RunState::kStarting;
  std::string reason;  // why it is paused, ended or crashed; may be empty
  bool detached = false;
  bool qemu_outlives_supervisor = false;
  ProcessIdentity supervisor;
  ProcessIdentity qemu;         // pid -1 before the start
  std::int64_t started_at = 0;  // seconds since the epoch
  std::int64_t ended_at = 0;    // 0 while it lives
  int stop_timeout_s = 60;
  int restarts = 0;      // of QEMU, since the start
  std::string last_end;  // why QEMU had to be started anew last; empty: it had not
  std::string qemu_path;
  std::string qemu_version;
  std::string accel;  // "kvm", "tcg"
  std::vector<VmThread> threads;
  std::vector<std::string> serial_sockets;  // names in the VM's folder; the first is the console
  Lease claim;
  PlacementRecord placement;
  std::vector<PassedRecord> passed;
  std::vector<NicRecord> nics;
  std::map<std::string, DiskRecord> disks;        // by id
  int next_fd_set = kFirstHotplugFdSet;           // for files that come later
  std::optional<QemuUser> user;                   // none: of a version before users
  NicForms nic_forms;                             // that this QEMU takes
  std::map<std::string, std::string> usb_places;  // of the host's USB devices, by id
  std::vector<std::string> pending_unplugs;       // ids that the guest has not given free yet
  std::vector<std::string> foreign_devices;       // ids of devices that a QMP client has added
  std::vector<HostChange> host_changes;  // in order; the journal says what has been done of them
  Json config = Json::object();          // with all defaults filled in
};

// False for one whose supervisor was killed before its QEMU ran the guest, at the start or anew.
bool has_run(const VmState& state);

Json to_json(const VmState& state);
// The same as a line of text, without a copy of the config. What came from the guest's side may
// hold bytes that are no UTF-8: replaced, never thrown at.
std::string to_line(const VmState& state);
// Throws vmrig::Error when it is no state of this format.
VmState vm_state_from_json(const Json& json);

}  // namespace vmrig
