#include "launcher/orphans.hpp"

#include <fmt/format.h>
#include <signal.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "launcher/daemonize.hpp"
#include "launcher/dying_process.hpp"
#include "launcher/process.hpp"
#include "launcher/supervisor.hpp"
#include "launcher/vm_log.hpp"

namespace vmrig {
namespace {

// A QEMU that does not answer because it is being killed is gone within this, mostly.
constexpr std::chrono::seconds kDyingTime{2};

bool has_lost_supervisor(const VmEntry& vm) {
  return !vm.supervisor_alive && vm.qemu_alive && vm.state.has_value();
}

// For those who read `vmrig logs`; the command that wanted it may be gone.
void log_failure(const StateRoot& root, const std::string& name, const std::string& fault) {
  try {
    VmLog(root.folder(name).open_log(kVmrigLogName), [] {}).write("no new supervisor: " + fault);
  } catch (const Error&) {
    return;  // the VM has ended, and its folder is gone
  }
}

std::optional<Adoption> take_folder(StateRoot& root, const std::string& name) {
  const StateRoot::Lock lock = root.lock();
  VmState state;
  std::optional<VmFolder> folder = root.adopt(lock, name, state);
  if (!folder) return std::nullopt;
  return Adoption{.folder = std::move(*folder), .state = std::move(state)};
}

int supervise_orphan(const std::string& state_folder, const std::string& name, ReadyPipe& pipe) {
  StateRoot root = StateRoot::open(state_folder);
  std::optional<Adoption> adoption = take_folder(root, name);
  if (!adoption) {  // somebody was faster, or it has ended
    pipe.ready(Json(nullptr));
    return static_cast<int>(ExitStatus::kDone);
  }
  SuperviseOptions options;
  options.mode = RunMode::kDetached;
  options.on_running = [&pipe](const VmState& state) {
    pipe.ready(Json{{"name", state.name},
                    {"supervisor", state.supervisor.pid},
                    {"pid", state.qemu.pid},
                    {"state", run_state_name(state.state)}});
  };
  try {
    return static_cast<int>(supervise(std::move(*adoption), std::move(options)).status());
  } catch (const Error& error) {
    log_failure(root, name, error.what());
    throw;
  }
}

// Whether its QEMU has ended, or is about to.
bool has_ended(const std::string& state_folder, const std::string& name) {
  const std::optional<StateRoot> root = StateRoot::open_existing(state_folder);
  const std::optional<VmEntry> vm = root ? root->find(name) : std::nullopt;
  if (!vm || !vm->living()) return true;
  if (!has_lost_supervisor(*vm)) return false;  // another one is at it
  const Fd qemu = open_pidfd(vm->state->qemu);
  return !qemu || wait_for_exit(qemu.get(), qmp::deadline_in(kDyingTime));
}

}  // namespace

bool is_doomed(const VmEntry& vm) {
  return has_lost_supervisor(vm) && (!has_run(*vm.state) || !vm.state->qemu_outlives_supervisor);
}

bool is_orphan(const VmEntry& vm) { return has_lost_supervisor(vm) && !is_doomed(vm); }

bool await_dying_supervisors(const std::vector<VmEntry>& vms, qmp::Deadline deadline) {
  std::vector<Fd> supervisors;
  const std::string boot = read_boot_id();
  for (const VmEntry& vm : vms) {
    if (!vm.supervisor_alive || !vm.state || vm.state->boot_id != boot) continue;
    if (!is_dying(vm.state->supervisor)) continue;
    if (Fd supervisor = open_pidfd(vm.state->supervisor)) {
      supervisors.push_back(std::move(supervisor));
    }
  }
  bool are_gone = true;
  for (const Fd& supervisor : supervisors) {
    are_gone = wait_for_exit(supervisor.get(), deadline) && are_gone;
  }
  return are_gone;
}

bool end_doomed(const std::vector<VmEntry>& vms, qmp::Deadline deadline) {
  std::vector<Fd> qemus;
  for (const VmEntry& vm : vms) {
    if (!is_doomed(vm)) continue;
    Fd qemu = open_pidfd(vm.state->qemu);
    if (qemu && send_signal(qemu.get(), SIGKILL)) qemus.push_back(std::move(qemu));
  }
  bool are_gone = true;
  for (const Fd& qemu : qemus) are_gone = wait_for_exit(qemu.get(), deadline) && are_gone;
  return are_gone;
}

Adopted adopt_orphans(const std::string& state_folder, const std::vector<std::string>& names) {
  std::vector<DetachedProcess> supervisors;
  supervisors.reserve(names.size());
  for (const std::string& name : names) {
    DetachedProcess supervisor([&](ReadyPipe& pipe) {
      supervisors.clear();  // the pipes of the others
      return supervise_orphan(state_folder, name, pipe);
    });
    supervisors.push_back(std::move(supervisor));
  }
  Adopted adopted;
  for (std::size_t i = 0; i < names.size(); ++i) {
    std::string fault;
    try {
      Json vm = supervisors[i].report();
      if (!vm.is_null()) {
        adopted.vms.push_back(std::move(vm));
        continue;
      }
    } catch (const Error& error) {
      fault = error.what();
    }
    if (has_ended(state_folder, names[i])) {
      adopted.have_some_ended = true;
    } else if (!fault.empty()) {
      adopted.problems.push_back(std::move(fault));
    }
  }
  return adopted;
}

void adopt_orphans_unheard(const std::string& state_folder, const std::vector<std::string>& names) {
  run_unheard([&] { (void)adopt_orphans(state_folder, names); });
}

}  // namespace vmrig
