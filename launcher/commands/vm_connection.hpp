// Finding a VM by name and talking to who answers for it.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "hostcfg/base/error.hpp"
#include "hostcfg/base/json.hpp"
#include "launcher/cli/command_line.hpp"
#include "launcher/cli/progress_line.hpp"
#include "launcher/state_dir.hpp"
#include "qmp/sync_client.hpp"

namespace vmrig {

inline constexpr std::chrono::seconds kTalkTimeout{5};  // for what a living supervisor does at once

// The state folder, for reading. Throws Error (kNoSuchVm) naming `name` when there is none.
StateRoot open_root_for(const Context& context, const std::string& name);

// One VM. Throws Error (kNoSuchVm) that names the VMs there are, or the nearest.
VmEntry find_vm(const StateRoot& root, const std::string& name);

// For a person to see while a VM has the time to answer: "waiting for "a" to answer".
ProgressLine waiting_for(const std::string& name);

// A QMP connection to a VM: to its supervisor, or, when that is dead, to QEMU itself.
class VmConnection {
 public:
  enum class Far { kSupervisor, kQemu };

  // Throws Error: kNoSuchVm; kFailed for a VM that has ended; kTimeUp when nobody answers, with
  // the process that hangs.
  static VmConnection open(const Context& context, const std::string& name,
                           const qmp::ClientOptions& options = {});

  Far far() const { return far_; }
  // Throws qmp::Error for a refusal, Error for everything else.
  Json execute(const std::string& command, Json arguments, qmp::Deadline deadline);
  // For commands that do more with the connection; their faults are told by explain().
  qmp::SyncClient& client() { return client_; }
  // Why the VM does not answer any more.
  Error explain(const qmp::Error& fault) const;

 private:
  VmConnection(StateRoot root, std::string name, Far far, qmp::SyncClient client);

  StateRoot root_;
  std::string name_;
  Far far_;
  qmp::SyncClient client_;
};

// Runs one of vmrig's own commands that may take `timeout_s` (30 when not given), and gives its
// answer; `doing` is what a person is told meanwhile ("detaching "d1""). Throws Error: the
// supervisor's refusal; kFailed when no supervisor answers for the VM.
Json ask_supervisor(const Context& context, const std::string& name, const std::string& command,
                    Json arguments, std::optional<double> timeout_s, std::string doing);

// Runs one command with no arguments, within kTalkTimeout.
void tell_vm(const Context& context, const std::string& name, const std::string& command);

}  // namespace vmrig
