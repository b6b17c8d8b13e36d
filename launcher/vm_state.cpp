#include "launcher/vm_state.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>

#include "hostcfg/base/error.hpp"

namespace vmrig {
namespace {

constexpr std::array<std::string_view, 6> kRunStateNames = {"starting", "running", "paused",
                                                            "stopping", "ended",   "crashed"};

Json to_json(const ProcessIdentity& process) {
  return {{"pid", process.pid}, {"start_time", process.start_time}};
}

ProcessIdentity identity_from_json(const Json& json) {
  return {.pid = json.at("pid").get<pid_t>(),
          .start_time = json.at("start_time").get<std::uint64_t>()};
}

Json to_json(const HostChange& change) {
  return {{"kind", change.kind}, {"text", change.text}, {"undo", change.undo}};
}

HostChange host_change_from_json(const Json& json) {
  return {.kind = json.at("kind").get<std::string>(),
          .text = json.at("text").get<std::string>(),
          .undo = json.at("undo").get<std::string>()};
}

Json to_json(const VmThread& thread) {
  return {{"role", thread.role},
          {"id", thread.id},
          {"tid", thread.tid},
          {"cpus", thread.cpus.to_string()}};
}

VmThread thread_from_json(const Json& json) {
  return {.role = json.at("role").get<std::string>(),
          .id = json.at("id").get<std::string>(),
          .tid = json.at("tid").get<pid_t>(),
          .cpus = CpuSet::parse(json.at("cpus").get<std::string>())};
}

RunState run_state_from_name(const std::string& name) {
  const auto found = std::find(kRunStateNames.begin(), kRunStateNames.end(), name);
  if (found == kRunStateNames.end()) {
    throw std::invalid_argument("unknown state " + quote(name));
  }
  return static_cast<RunState>(found - kRunStateNames.begin());
}

}  // namespace

std::string_view run_state_name(RunState state) {
  return kRunStateNames.at(static_cast<std::size_t>(state));
}

Json to_json(const VmState& state) {
  Json threads = Json::array();
  for (const VmThread& thread : state.threads) threads.push_back(to_json(thread));
  Json changes = Json::array();
  for (const HostChange& change : state.host_changes) changes.push_back(to_json(change));
  return {{"format", VmState::kFormat},
          {"name", state.name},
          {"vmrig_version", state.vmrig_version},
          {"boot_id", state.boot_id},
          {"state", run_state_name(state.state)},
          {"reason", state.reason},
          {"detached", state.detached},
          {"qemu_outlives_supervisor", state.qemu_outlives_supervisor},
          {"supervisor", to_json(state.supervisor)},
          {"qemu", to_json(state.qemu)},
          {"started_at", state.started_at},
          {"ended_at", state.ended_at},
          {"stop_timeout_s", state.stop_timeout_s},
          {"qemu_path", state.qemu_path},
          {"qemu_version", state.qemu_version},
          {"accel", state.accel},
          {"threads", std::move(threads)},
          {"serial_sockets", state.serial_sockets},
          {"claim", to_json(state.claim)},
          {"host_changes", std::move(changes)},
          {"config", state.config}};
}

VmState vm_state_from_json(const Json& json) {
  try {
    if (const int format = json.at("format").get<int>(); format != VmState::kFormat) {
      throw std::invalid_argument("format " + std::to_string(format) +
                                  " is not known to this version of vmrig");
    }
    VmState state;
    state.name = json.at("name").get<std::string>();
    state.vmrig_version = json.at("vmrig_version").get<std::string>();
    state.boot_id = json.at("boot_id").get<std::string>();
    state.state = run_state_from_name(json.at("state").get<std::string>());
    state.reason = json.at("reason").get<std::string>();
    state.detached = json.at("detached").get<bool>();
    state.qemu_outlives_supervisor = json.at("qemu_outlives_supervisor").get<bool>();
    state.supervisor = identity_from_json(json.at("supervisor"));
    state.qemu = identity_from_json(json.at("qemu"));
    state.started_at = json.at("started_at").get<std::int64_t>();
    state.ended_at = json.at("ended_at").get<std::int64_t>();
    state.stop_timeout_s = json.at("stop_timeout_s").get<int>();
    state.qemu_path = json.at("qemu_path").get<std::string>();
    state.qemu_version = json.at("qemu_version").get<std::string>();
    state.accel = json.at("accel").get<std::string>();
    for (const Json& thread : json.at("threads")) state.threads.push_back(thread_from_json(thread));
    state.serial_sockets = json.at("serial_sockets").get<std::vector<std::string>>();
    state.claim = lease_from_json(json.at("claim"));
    // Versions that changed nothing on the host have no such key.
    for (const Json& change : json.value("host_changes", Json::array())) {
      state.host_changes.push_back(host_change_from_json(change));
    }
    state.config = json.at("config");
    return state;
  } catch (const std::exception& fault) {  // Json's, CpuSet's and our own
    throw Error({.operation = "read a VM's state",
                 .object = "state.json",
                 .cause = fault.what(),
                 .mend = {}});
  }
}

}  // namespace vmrig
