// What the user asked for: one VM, with all defaults filled in.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "devices/channel.hpp"
#include "devices/disk.hpp"
#include "devices/iothread.hpp"
#include "devices/memory.hpp"
#include "devices/memory_device.hpp"
#include "devices/nic.hpp"
#include "devices/rng.hpp"
#include "devices/serial.hpp"
#include "devices/usb.hpp"
#include "devices/vfio.hpp"
#include "devices/watchdog.hpp"
#include "hostcfg/base/bytes.hpp"
#include "hostcfg/base/cpu_set.hpp"
#include "hostcfg/base/shape.hpp"
#include "hostcfg/base/thread_scheduler.hpp"
#include "hostcfg/memory_region.hpp"
#include "launcher/config/numa_config.hpp"

namespace vmrig {

enum class Profile { kPlain, kNfv };
enum class MachineType { kQ35, kPc };
enum class AccelChoice { kAuto, kKvm, kTcg };
enum class SmtPolicy { kUse, kEmulator, kIsolate };
enum class MemoryBacking { kHugetlbfs, kMemfd };
enum class RtcBase { kUtc, kLocaltime };
enum class PitLostTicks { kDelay, kDiscard };
enum class SupervisorExit { kKeep, kKill };
// What follows when the guest powers off or crashes: the VM ends, its QEMU is started anew, or it
// stands still as it is.
enum class OnEnd { kDestroy, kRestart, kPreserve };
enum class OnReboot { kRestart, kDestroy };

std::vector<std::string_view> enum_names(Profile);
std::vector<std::string_view> enum_names(MachineType);
std::vector<std::string_view> enum_names(AccelChoice);
std::vector<std::string_view> enum_names(SmtPolicy);
std::vector<std::string_view> enum_names(MemoryBacking);
std::vector<std::string_view> enum_names(RtcBase);
std::vector<std::string_view> enum_names(PitLostTicks);
std::vector<std::string_view> enum_names(SupervisorExit);
std::vector<std::string_view> enum_names(OnEnd);
std::vector<std::string_view> enum_names(OnReboot);

struct MachineConfig {
  MachineType type = MachineType::kQ35;
  AccelChoice accel = AccelChoice::kAuto;
  int hotplug_ports = 4;  // spare pcie-root-ports on q35
};

struct BootConfig {
  std::optional<std::string> kernel;
  std::optional<std::string> initrd;
  std::optional<std::string> cmdline;
  std::vector<std::string> order;  // ids of disks and NICs
};

struct TopologyConfig {
  int sockets = 1;
  int cores = 1;
  int threads = 1;
};

// Where threads may run: "none" (wherever the kernel likes), "auto" (vmrig chooses) or a list of
// the user's own.
struct Pinning {
  enum class Mode { kNone, kAuto, kList };
  Mode mode = Mode::kNone;
  std::vector<std::string> cpulists;  // with kList: one a vCPU, or the emulator's only one
};

struct CpuConfig {
  std::optional<std::string> model;  // host with KVM, max with TCG when not given
  int vcpus = 1;
  std::optional<int> max_vcpus;  // vcpus when not given
  std::optional<TopologyConfig> topology;
  Pinning pin;
  Pinning emulator;
  SmtPolicy smt = SmtPolicy::kUse;
  bool exclusive = false;
  ThreadScheduler scheduler;  // of the vCPUs
};

struct MemoryConfig {
  Bytes size;
  std::optional<HugepageSize> hugepages;  // none, or by the nfv profile
  MemoryBacking backing = MemoryBacking::kHugetlbfs;
  bool prealloc = false;
  bool reserve = false;  // pages that are missing are added to the pools, and given back
  bool lock = false;
  bool lock_on_fault = false;  // with lock: each page when it is first used
  bool merge = true;
  Pinning::Mode node_mode = Pinning::Mode::kNone;  // kList: `node` is given
  int node = -1;
  CpuSet nodes;  // several of them, for interleave; node_mode is kNone then
  MemoryPolicy policy = MemoryPolicy::kBind;
  std::optional<Bytes> max;
  std::optional<int> slots;
  bool share = false;  // other processes may map it (vhost-user)
  std::vector<MemoryDeviceConfig> devices;
};

struct ClockConfig {
  RtcBase rtc = RtcBase::kUtc;
  bool rtc_catchup = true;
  bool hpet = false;
  PitLostTicks pit_lost_ticks = PitLostTicks::kDelay;
};

struct PowerConfig {
  bool s3 = false;
  bool s4 = false;
  OnEnd on_poweroff = OnEnd::kDestroy;
  OnReboot on_reboot = OnReboot::kRestart;
  OnEnd on_crash = OnEnd::kDestroy;
  int max_restarts = 10;                             // of QEMU, one soon after the other
  std::optional<bool> pvpanic;                       // where QEMU has it
  std::optional<SupervisorExit> on_supervisor_exit;  // keep; run in the foreground: kill
  int stop_timeout_s = 60;  // seconds from the powerdown request until the VM is ended by force
};

// By cgroup v2, for QEMU and what helps it.
struct LimitsConfig {
  std::optional<int> cpu_weight;
  std::optional<std::string> cpu_max;  // "250%" of one CPU's time
  std::optional<Bytes> memory_max;
  std::optional<Bytes> memory_high;
  std::optional<int> io_weight;
  std::optional<int> pids_max;
};

struct SecurityConfig {
  bool sandbox = true;
};

struct VmConfig {
  std::string name;
  Profile profile = Profile::kPlain;
  std::string qemu;  // path or name; empty: qemu-system-x86_64 in PATH
  MachineConfig machine;
  BootConfig boot;
  CpuConfig cpu;
  MemoryConfig memory;
  std::vector<NumaCellConfig>
      numa;  // empty: one guest node, or the host's shape when it needs more
  std::vector<IothreadConfig> iothreads;
  std::vector<DiskConfig> disks;
  std::vector<NicConfig> nics;
  std::vector<VfioConfig> vfio;
  std::vector<SerialConfig> serial;
  std::vector<ChannelConfig> channels;
  std::vector<UsbConfig> usb;
  bool rng = true;
  std::vector<RngConfig> rngs;  // more of them, by id
  bool balloon = false;
  std::optional<WatchdogConfig> watchdog;
  bool latency = false;  // cpu_pm, kvm_hint_dedicated, host_cache_info
  ClockConfig clock;
  PowerConfig power;
  std::optional<LimitsConfig> limits;
  SecurityConfig security;
  std::vector<std::string> qemu_args;
};

// A config as the profile would have it, before any key of the user's.
VmConfig defaults_for(Profile profile);

// Names, docs, ranges and rules of all keys.
void describe(Fields& fields, MachineConfig& config);
void describe(Fields& fields, BootConfig& config);
void describe(Fields& fields, TopologyConfig& config);
void describe(Fields& fields, CpuConfig& config);
void describe(Fields& fields, MemoryConfig& config);
void describe(Fields& fields, ClockConfig& config);
void describe(Fields& fields, PowerConfig& config);
void describe(Fields& fields, LimitsConfig& config);
void describe(Fields& fields, SecurityConfig& config);
void describe(Fields& fields, VmConfig& config);

// Whether it takes PCI devices of the host.
bool wants_pci_devices(const VmConfig& config);
// Whether it looks at or changes the host's network.
bool wants_net_devices(const VmConfig& config);
// Whether it takes USB devices of the host.
bool wants_usb_devices(const VmConfig& config);

// "250%" as a number; 0 for what is none.
int cpu_max_percent(const std::string& text);

// Whether it is to have a cgroup of its own.
bool wants_cgroup(const VmConfig& config);

// A disk or a USB storage device.
struct Storage {
  DiskConfig disk;
  std::string origin;  // config path: "disks[0]"
};
std::vector<Storage> storages_of(const VmConfig& config);

// The folder that the file or socket at an absolute path stands in.
std::string folder_of(const std::string& path);

// Whether ports of the host are to lead to the guest.
bool forwards_ports(const VmConfig& config);

// The host paths that the config names, for the facts.
std::vector<std::string> paths_of(const VmConfig& config);

// Why `name` can't be a VM's name, in words; empty when it can. A VM's name is a folder's, so
// that it is at most 64 letters, digits, '-', '_' and '.', and starts with a letter or digit.
std::string why_bad_name(std::string_view name);

}  // namespace vmrig
