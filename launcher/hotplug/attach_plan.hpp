// What attaching one device to a running VM takes: a small plan of its own, made by the functions
// that plan a start. Pure.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "devices/description.hpp"
#include "devices/vfio.hpp"
#include "hostcfg/base/json.hpp"
#include "launcher/host_step.hpp"
#include "launcher/leases.hpp"
#include "launcher/plan.hpp"

namespace vmrig {

// Each is one of the config's lists of devices.
enum class DeviceKind { kDisk, kNic, kVfio, kUsb, kMemory, kRng, kChannel };

std::string_view kind_name(DeviceKind kind);  // "disk", "nic", …
std::vector<std::string_view> kind_names();
// Where the config has its list, as a JSON pointer: "/memory/devices".
const char* kind_list(DeviceKind kind);
// Throws vmrig::Error (kUsage) that names the nearest kind.
DeviceKind kind_from_name(std::string_view name);

// One more device, read and checked together with all that the VM has.
struct AttachWish {
  DeviceKind kind = DeviceKind::kDisk;
  std::string id;
  VmConfig after;   // the VM with it
  VmConfig alone;   // the VM with this device and no other, for the checks against the host
  Json after_json;  // what to_json gives of `after`, at less than its cost
};

// `vm` is its config, `device` an object as in the config's list; paths in it have to be absolute.
// Throws DiagnosticsError with every fault; the device's keys stand under its kind ("disk.path").
AttachWish read_wish(Json vm, DeviceKind kind, const Json& device);

// An fd that QEMU is handed before the device is made, by getfd.
struct NamedFd {
  std::string name;
  FdSource source;
};

// A file that QEMU opens as /dev/fdset/SET.
struct FdSetFile {
  int set = -1;
  FdSource source;
};

std::string fd_name(const std::string& id, std::size_t number);  // from 0

struct AttachPlan {
  DeviceDescription device;  // its PCI function has no bus yet
  std::vector<PassedDevice> passed;
  std::vector<TakenAlong> along;
  std::vector<HostStep> host_steps;
  std::string usb_place;  // of a USB device of the host's
  // Hugepages that vmrig gets and QEMU maps: QEMU would get them in its main loop, deaf for
  // seconds.
  std::optional<MemoryRegion> region;
  std::optional<NicHostEnd> host_end;  // of a NIC that is no VF
  std::vector<NamedFd> fds;            // in the order of opening
  std::vector<Helper> helpers;         // that such an fd is the connection to
  bool link_down = false;              // of a NIC, from the start
  // Of a disk or USB storage: its files, and what QEMU is handed of them by add-fd.
  std::optional<DiskFiles> disk_files;
  std::vector<FdSetFile> fd_sets;
};

struct AttachPlanOptions {
  NicForms nic_forms;              // of this QEMU
  std::vector<HostAction> shares;  // what the VM has already, of what is done once
  std::optional<int> near;         // the host NUMA node of the VM
  CpuSet memory_nodes;             // that the policy of its memory is about
  std::string cgroup;              // folder of its own; empty: it has none
  QemuUser user;                   // that QEMU is
  int next_fd_set = 0;             // that no file has
};

// `input.config` is the wish's `alone`; `input.leases` are those of all VMs, this one among them.
// Throws DiagnosticsError with the problems that the preflight found.
AttachPlan plan_attach(const AttachWish& wish, const PlanInput& input,
                       const AttachPlanOptions& options);

// Of all that can be attached.
std::vector<std::string> device_ids(const VmConfig& vm);

bool has_device(const VmConfig& vm, const std::string& id);

// A device of the VM, as its removal needs it.
struct PresentDevice {
  DeviceKind kind = DeviceKind::kDisk;
  DeviceDescription device;
};

// nullopt: the config has none with this id. `files` are a disk's.
std::optional<PresentDevice> find_device(const VmConfig& vm, const std::string& id,
                                         const DiskFiles& files);

// The VM without the device; as it is when it has none with this id.
VmConfig without_device(VmConfig vm, const std::string& id);

// The same for what to_json gave of `vm`.
Json without_device(Json json, const VmConfig& vm, const std::string& id);

}  // namespace vmrig
