#include "launcher/commands/vm_silence.hpp"

#include <array>
#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "hostcfg/base/error.hpp"
#include "qmp/error.hpp"
#include "qmp/sync_client.hpp"

namespace vmrig {
namespace {

// Both answer in a millisecond where they have a CPU.
constexpr std::chrono::milliseconds kSupervisorTime{1000};
constexpr double kQemuTimeS = 0.7;

bool should_answer(const VmEntry& vm) {
  return vm.supervisor_alive && vm.condition != VmCondition::kStarting;
}

Silent ask(const StateRoot& root, const std::string& name) {
  const qmp::Deadline deadline = qmp::deadline_in(kSupervisorTime);
  try {
    Fd socket = root.folder(name).connect(kQmpSocketName, deadline);
    qmp::SyncClient client(socket.release(), {});
    client.handshake(deadline);
    const Json answer = client.execute("vmrig-ping", Json{{"timeout", kQemuTimeS}},
                                       {.deadline = deadline, .oob = false, .fds = {}});
    return answer.is_object() && !answer.value("qemu", true) ? Silent::kQemu : Silent::kNobody;
  } catch (const qmp::Error& fault) {
    // One that has just ended refuses, and a version before this has no such command.
    return fault.kind() == qmp::ErrorKind::timeout ? Silent::kSupervisor : Silent::kNobody;
  } catch (const Error&) {
    return Silent::kNobody;  // its folder has just gone
  }
}

}  // namespace

std::string_view name_of(Silent who) {
  static constexpr std::array<std::string_view, 3> kNames = {"", "supervisor", "QEMU"};
  return kNames.at(static_cast<std::size_t>(who));
}

std::map<std::string, Silent> find_silent(const StateRoot& root, const std::vector<VmEntry>& vms) {
  std::map<std::string, Silent> silent;
  for (const VmEntry& vm : vms) {
    if (should_answer(vm)) silent.emplace(vm.name, Silent::kNobody);
  }
  std::vector<std::jthread> threads;
  threads.reserve(silent.size());
  for (auto& one : silent) {
    threads.emplace_back([&root, &one] { one.second = ask(root, one.first); });
  }
  threads.clear();  // joins
  return silent;
}

}  // namespace vmrig
