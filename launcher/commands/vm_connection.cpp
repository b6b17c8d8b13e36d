#include "launcher/commands/vm_connection.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <thread>
#include <vector>

#include "hostcfg/base/error.hpp"
#include "hostcfg/base/nearest.hpp"
#include "launcher/commands/environment.hpp"
#include "launcher/commands/seconds.hpp"
#include "launcher/hotplug/requests.hpp"
#include "launcher/plan.hpp"
#include "launcher/refusal.hpp"
#include "launcher/text.hpp"

namespace vmrig {
namespace {

Error no_such_vm(const std::string& name, std::string cause) {
  return Error({.status = ExitStatus::kNoSuchVm,
                .operation = "find VM",
                .object = name,
                .cause = std::move(cause),
                .mend = "vmrig list"});
}

std::string whom_there_is(const StateRoot& root, const std::string& name) {
  std::vector<std::string> names;
  for (const VmEntry& entry : root.list()) names.push_back(entry.name);
  if (names.empty()) return fmt::format("there are no VMs in {}", quote(root.path()));
  const std::string hint =
      did_you_mean(name, std::vector<std::string_view>(names.begin(), names.end()));
  constexpr std::size_t kMostNames = 20;
  const bool many = names.size() > kMostNames;
  if (many) names.resize(kMostNames);
  return fmt::format("there is none of that name{}; there are {}{}", hint, quoted_list(names),
                     many ? ", …" : "");
}

Error has_ended(const VmEntry& entry) {
  const std::string reason =
      entry.state && !entry.state->reason.empty() ? ": " + printable(entry.state->reason) : "";
  return Error({.status = ExitStatus::kNoSuchVm,
                .operation = "talk to VM",
                .object = entry.name,
                .cause = "it has ended" + reason,
                .mend = fmt::format("vmrig logs {}", entry.name)});
}

// Why a VM that should answer does not.
Error no_answer(const StateRoot& root, const std::string& name, VmConnection::Far far,
                const qmp::Error& fault) {
  const std::optional<VmEntry> entry = root.find(name);
  if (entry && entry->condition == VmCondition::kStale) {
    return Error({.status = ExitStatus::kFailed,
                  .operation = "talk to VM",
                  .object = name,
                  .cause = "it has ended, and its supervisor was killed before all was put back",
                  .mend = "vmrig recover"});
  }
  if (!entry || !entry->living()) return no_such_vm(name, "it has just ended");
  const bool late = fault.kind() == qmp::ErrorKind::timeout;
  std::string who = "QEMU";
  pid_t pid = entry->state ? entry->state->qemu.pid : -1;
  std::string mend = fmt::format("kill -KILL {}", pid);
  if (far == VmConnection::Far::kSupervisor) {
    who = "its supervisor";
    pid = entry->state ? entry->state->supervisor.pid : -1;
    mend = fmt::format("kill -KILL {}, and vmrig stop {} ends QEMU", pid, name);
  }
  return Error({.status = late ? ExitStatus::kTimeUp : ExitStatus::kFailed,
                .operation = "talk to VM",
                .object = name,
                .cause = late ? fmt::format("{} (pid {}) does not answer", who, pid)
                              : fmt::format("{} (pid {}): {}", who, pid, fault.what()),
                .mend = late ? mend : ""});
}

// From a new supervisor's lock to its socket, mostly some milliseconds.
constexpr std::chrono::seconds kTakeOverTime{2};
constexpr std::chrono::milliseconds kTakeOverPause{5};

qmp::SyncClient connect(const VmFolder& folder, VmConnection::Far far, qmp::ClientOptions options) {
  options.opening = qmp::Opening::at_once;
  const qmp::Deadline deadline = qmp::deadline_in(kTalkTimeout);
  const bool to_qemu = far == VmConnection::Far::kQemu;
  Fd socket = folder.connect(to_qemu ? kMonitorSocketName : kQmpSocketName, deadline);
  qmp::SyncClient client(socket.release(), std::move(options));
  client.handshake(deadline);
  return client;
}

}  // namespace

StateRoot open_root_for(const Context& context, const std::string& name) {
  const std::string path = state_folder(context);
  std::optional<StateRoot> root = StateRoot::open_existing(path);
  if (!root) throw no_such_vm(name, fmt::format("there are no VMs in {}", quote(path)));
  return std::move(*root);
}

VmEntry find_vm(const StateRoot& root, const std::string& name) {
  // A name that no VM can have is not looked for: it could lead out of the folder.
  std::optional<VmEntry> entry;
  if (why_bad_name(name).empty()) entry = root.find(name);
  if (!entry) throw no_such_vm(name, whom_there_is(root, name));
  return std::move(*entry);
}

ProgressLine waiting_for(const std::string& name) {
  return ProgressLine(fmt::format("waiting for {} to answer", quote(name)), kTalkTimeout);
}

VmConnection::VmConnection(StateRoot root, std::string name, Far far, qmp::SyncClient client)
    : root_(std::move(root)), name_(std::move(name)), far_(far), client_(std::move(client)) {}

VmConnection VmConnection::open(const Context& context, const std::string& name,
                                const qmp::ClientOptions& options) {
  StateRoot root = open_root_for(context, name);
  if (!why_bad_name(name).empty()) throw no_such_vm(name, whom_there_is(root, name));
  // The common case first: a supervisor that answers needs no look at its state.
  Far far = Far::kSupervisor;
  for (const qmp::Deadline patience = qmp::deadline_in(kTakeOverTime);;) {
    try {
      qmp::SyncClient client = connect(root.folder(name), far, options);
      return VmConnection(std::move(root), name, far, std::move(client));
    } catch (const qmp::Error& fault) {
      const VmEntry entry = find_vm(root, name);
      if (!entry.living()) throw has_ended(entry);
      if (!entry.supervisor_alive) break;
      const bool is_late = fault.kind() == qmp::ErrorKind::timeout;
      if (is_late || std::chrono::steady_clock::now() > patience) {
        throw no_answer(root, name, far, fault);
      }
    } catch (const Error& fault) {
      if (fault.status() != ExitStatus::kNoSuchVm) throw;
      throw no_such_vm(name, whom_there_is(root, name));
    }
    // A supervisor that takes the VM over has its lock before its socket listens.
    std::this_thread::sleep_for(kTakeOverPause);
  }
  far = Far::kQemu;
  try {
    qmp::SyncClient client = connect(root.folder(name), far, options);
    return VmConnection(std::move(root), name, far, std::move(client));
  } catch (const qmp::Error& fault) {
    throw no_answer(root, name, far, fault);
  }
}

Json VmConnection::execute(const std::string& command, Json arguments, qmp::Deadline deadline) {
  try {
    return client_.execute(command, std::move(arguments),
                           {.deadline = deadline, .oob = false, .fds = {}});
  } catch (const qmp::Error& fault) {
    if (fault.kind() == qmp::ErrorKind::command) throw;
    throw explain(fault);
  }
}

Error VmConnection::explain(const qmp::Error& fault) const {
  return no_answer(root_, name_, far_, fault);
}

Json ask_supervisor(const Context& context, const std::string& name, const std::string& command,
                    Json arguments, std::optional<double> timeout_s, std::string doing) {
  const std::chrono::milliseconds limit =
      timeout_s ? to_milliseconds(*timeout_s)
                : std::chrono::milliseconds(std::chrono::seconds(kDefaultHotplugTimeout));
  const ProgressLine progress(std::move(doing), limit);
  VmConnection vm = VmConnection::open(context, name);
  if (vm.far() != VmConnection::Far::kSupervisor) {
    throw Error({.status = ExitStatus::kFailed,
                 .operation = "talk to the supervisor of VM",
                 .object = name,
                 .cause = "it is dead; QEMU goes on without it",
                 .mend = "vmrig stop " + name});
  }
  try {
    // The supervisor keeps the time; what it takes to answer comes on top.
    return vm.execute(command, std::move(arguments), qmp::deadline_in(limit + kTalkTimeout));
  } catch (const qmp::Error& fault) {
    throw error_of(fault);
  }
}

void tell_vm(const Context& context, const std::string& name, const std::string& command) {
  const ProgressLine progress = waiting_for(name);
  VmConnection vm = VmConnection::open(context, name);
  vm.execute(command, Json::object(), qmp::deadline_in(kTalkTimeout));
}

}  // namespace vmrig
