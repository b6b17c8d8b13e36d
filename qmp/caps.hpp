#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "qmp/json.hpp"

namespace qmp {

/// Version of QemuCaps' JSON form; a cache of another format is to be probed anew.
inline constexpr int kCapsFormat = 3;

/// Thrown by QemuCaps::from_json for a text that is no valid QemuCaps; names the member.
class CapsError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// One machine type.
struct MachineCaps {
  std::string name;            ///< pc-q35-7.2
  std::string alias;           ///< q35; empty when none
  std::uint32_t max_cpus = 0;  ///< vCPUs
  bool is_default = false;
  bool hotpluggable_cpus = false;
  bool deprecated = false;
  std::string default_ram_id;  ///< id that `-machine memory-backend=` replaces; may be empty

  bool operator==(const MachineCaps&) const = default;
};

/// What `-overcommit mem-lock=` takes.
enum class MemLockForm {
  none,      ///< No such option.
  boolean,   ///< on, off
  on_fault,  ///< on, off, on-fault
};

/// What this QEMU binary can do: plain data, found by features and never by version number. The
/// version is for messages only.
struct QemuCaps {
  struct Version {
    int major = 0;
    int minor = 0;
    int micro = 0;
    std::string package;
    bool operator==(const Version&) const = default;
  };

  Version version;
  std::vector<MachineCaps> machines;
  std::set<std::string> commands;      ///< all QMP commands
  std::set<std::string> events;        ///< all QMP events
  std::set<std::string> devices;       ///< names for -device and device_add, CPU models apart
  std::set<std::string> cpu_models;    ///< names for -cpu
  std::set<std::string> object_types;  ///< names for -object; empty where not enumerated (5.2)
  std::set<std::string> accelerators;  ///< kvm, tcg: compiled in (the host may still lack it)
  std::set<std::string> aio_modes;     ///< of the file blockdev: threads, native, io_uring
  std::set<std::string> blockdev_drivers;
  std::set<std::string> netdev_backends;
  std::set<std::string> chardev_backends;
  std::map<std::string, std::set<std::string>> device_properties;   ///< of probed_devices()
  std::map<std::string, std::set<std::string>> machine_properties;  ///< by alias: q35, pc
  std::map<std::string, std::set<std::string>> accel_properties;    ///< of kvm

  bool json_cli_object = false;       ///< -object takes JSON
  bool json_cli_device = false;       ///< -device takes JSON
  bool json_cli_netdev = false;       ///< -netdev takes JSON
  bool object_add_props = false;      ///< object-add takes the properties inside "props" too (5.2)
  bool action_option = false;         ///< -action
  bool sandbox_option = false;        ///< -sandbox (seccomp compiled in)
  bool chardev_reconnect_ms = false;  ///< a socket chardev has reconnect-ms (9.2), else reconnect
  bool realtime_mlock = false;        ///< -realtime mlock= (removed in 6.0)
  MemLockForm overcommit_mem_lock = MemLockForm::none;
  std::set<std::string> run_with;  ///< parameters of -run-with: async-teardown, chroot, user

  /// The machine by name or alias; null when there is none.
  const MachineCaps* machine(std::string_view name_or_alias) const;
  bool has_command(std::string_view name) const;
  bool has_device(std::string_view name) const;
  /// By the list of object types. Where QEMU does not enumerate them (5.2) the list is empty, and
  /// this is true for the types that all supported QEMUs have.
  bool has_object(std::string_view type) const;
  bool has_accelerator(std::string_view name) const;
  /// False, too, for devices that are not in probed_devices().
  bool has_device_property(std::string_view device, std::string_view property) const;
  /// By the machine's alias or full name; only q35 and pc are known.
  bool has_machine_property(std::string_view name_or_alias, std::string_view property) const;
  /// Of `-accel NAME,…`; only kvm's are known.
  bool has_accel_property(std::string_view accelerator, std::string_view property) const;
  bool has_run_with(std::string_view parameter) const;

  Json to_json() const;
  /// Throws CapsError unless `json` is complete and every member has its type.
  static QemuCaps from_json(const Json& json);
  /// Parses and reads; throws CapsError for anything but a valid text.
  static QemuCaps parse(std::string_view text);

  bool operator==(const QemuCaps&) const = default;
};

/// The devices whose properties are probed.
const std::vector<std::string>& probed_devices();

}  // namespace qmp
