// What a VM's state.json says: who runs it, what it holds, how it ended.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "hostcfg/base/cpu_set.hpp"
#include "hostcfg/base/json.hpp"
#include "launcher/leases.hpp"
#include "launcher/process.hpp"

namespace vmrig {

enum class RunState { kStarting, kRunning, kPaused, kStopping, kEnded, kCrashed };

std::string_view run_state_name(RunState state);  // "starting", "running", …

struct VmThread {
  std::string role;  // "vcpu", "emulator", "iothread"
  std::string id;    // index of the vCPU, id of the iothread; empty for the emulator
  pid_t tid = -1;
  CpuSet cpus;  // pinned to; empty: not pinned
};

// A change of the host that lasts as long as the VM.
struct HostChange {
  std::string kind;  // "bind", "vf", …
  std::string text;
  std::string undo;
};

struct VmState {
  static constexpr int kFormat = 1;

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
  std::string qemu_path;
  std::string qemu_version;
  std::string accel;  // "kvm", "tcg"
  std::vector<VmThread> threads;
  std::vector<std::string> serial_sockets;  // names in the VM's folder; the first is the console
  Lease claim;
  std::vector<HostChange> host_changes;  // in order; the journal says what has been done of them
  Json config = Json::object();          // with all defaults filled in
};

Json to_json(const VmState& state);
// Throws vmrig::Error when it is no state of this format.
VmState vm_state_from_json(const Json& json);

}  // namespace vmrig
