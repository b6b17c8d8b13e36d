#include "launcher/initial_state.hpp"

#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>

#include "launcher/config/load_config.hpp"
#include "launcher/network_names.hpp"
#include "launcher/session.hpp"
#include "launcher/wall_clock.hpp"

namespace vmrig {
namespace {

std::string version_text(const qmp::QemuCaps::Version& version) {
  return fmt::format("{}.{}.{}", version.major, version.minor, version.micro);
}

}  // namespace

VmState initial_state(const Plan& plan, RunMode mode) {
  const SupervisorExit on_exit = plan.config.power.on_supervisor_exit.value_or(
      mode == RunMode::kDetached ? SupervisorExit::kKeep : SupervisorExit::kKill);
  VmState state;
  state.name = plan.config.name;
  state.vmrig_version = VMRIG_VERSION;
  state.detached = mode == RunMode::kDetached;
  state.qemu_outlives_supervisor = on_exit == SupervisorExit::kKeep;
  state.started_at = seconds_since_epoch();
  state.stop_timeout_s = plan.config.power.stop_timeout_s;
  state.qemu_path = plan.qemu;
  state.qemu_version = version_text(plan.qemu_version);
  state.accel = plan.accel == Accel::kKvm ? "kvm" : "tcg";
  state.serial_sockets = serial_sockets(plan);
  state.claim = plan.claim;
  state.placement = {.vcpus = plan.placement.vcpus,
                     .emulator = plan.placement.emulator,
                     .vhost = plan.placement.vhost,
                     .near = plan.placement.near,
                     .node = plan.placement.node,
                     .memory_nodes = plan.memory_nodes,
                     .cells = plan.placement.cells};
  std::size_t place = 0;  // the plan claims one a host device, in order
  for (const UsbConfig& usb : plan.config.usb) {
    if (usb.type == UsbType::kHost && place < plan.claim.usb.size()) {
      state.usb_places[usb.id] = plan.claim.usb[place++];
    }
  }
  for (std::size_t i = 0; i < plan.host_ends.size(); ++i) {
    const NicConfig& nic = plan.config.nics[i];
    state.nics.push_back({.id = nic.id,
                          .host_end = plan.host_ends[i],
                          .text = host_end_text(nic, plan.host_ends[i])});
  }
  for (const auto& [id, files] : plan.disk_files) {
    const auto fds = plan.disk_fds.find(id);
    state.disks[id] = {.files = files,
                       .fd_sets = fds == plan.disk_fds.end() ? std::vector<int>() : fds->second};
  }
  state.user = plan.user;
  state.nic_forms = plan.nic_forms;
  state.passed = passed_records(plan.passed, plan.taken_along);
  state.host_changes = host_changes(plan.host_steps);
  state.config = to_json(plan.config);
  return state;
}

}  // namespace vmrig
