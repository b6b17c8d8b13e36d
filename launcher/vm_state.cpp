#include "launcher/vm_state.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>

#include "hostcfg/base/error.hpp"
#include "launcher/image_chain.hpp"

namespace vmrig {
namespace {

constexpr std::array<std::string_view, 7> kRunStateNames = {
    "starting", "running", "paused", "stopping", "ended", "crashed", "restarting"};

Json to_json(const ProcessIdentity& process) {
  return {{"pid", process.pid}, {"start_time", process.start_time}};
}

ProcessIdentity identity_from_json(const Json& json) {
  return {.pid = json.at("pid").get<pid_t>(),
          .start_time = json.at("start_time").get<std::uint64_t>()};
}

Json to_json(const HostChange& change) {
  return {{"kind", change.kind},
          {"text", change.text},
          {"undo", change.undo},
          {"action", change.action}};
}

HostChange host_change_from_json(const Json& json) {
  return {.kind = json.at("kind").get<std::string>(),
          .text = json.at("text").get<std::string>(),
          .undo = json.at("undo").get<std::string>(),
          .action = json.value("action", Json())};
}

Json to_json(const VmThread& thread) {
  return {{"role", thread.role},
          {"id", thread.id},
          {"tid", thread.tid},
          {"cpus", thread.cpus.to_string()},
          {"scheduler", to_json(thread.scheduler)}};
}

VmThread thread_from_json(const Json& json) {
  VmThread thread{.role = json.at("role").get<std::string>(),
                  .id = json.at("id").get<std::string>(),
                  .tid = json.at("tid").get<pid_t>(),
                  .cpus = CpuSet::parse(json.at("cpus").get<std::string>())};
  // Versions before real-time threads have no such key.
  if (json.contains("scheduler")) thread.scheduler = thread_scheduler_from_json(json["scheduler"]);
  return thread;
}

std::vector<std::string> texts_of(const std::vector<PciAddress>& addresses) {
  std::vector<std::string> texts;
  for (const PciAddress& address : addresses) texts.push_back(address.to_string());
  return texts;
}

Json to_json(const PassedRecord& passed) {
  return {{"id", passed.id},
          {"address", passed.address.to_string()},
          {"pf", passed.pf ? Json(passed.pf->to_string()) : Json(nullptr)},
          {"vf", passed.vf_index},
          {"with", texts_of(passed.with)}};
}

PassedRecord passed_from_json(const Json& json) {
  PassedRecord passed{.id = json.at("id").get<std::string>(),
                      .address = PciAddress::parse(json.at("address").get<std::string>()),
                      .pf = {},
                      .vf_index = json.at("vf").get<int>(),
                      .with = {}};
  if (!json.at("pf").is_null()) passed.pf = PciAddress::parse(json.at("pf").get<std::string>());
  for (const Json& other : json.at("with")) {
    passed.with.push_back(PciAddress::parse(other.get<std::string>()));
  }
  return passed;
}

Json to_json(const PlacementRecord& placement) {
  Json cells = Json::array();
  for (const GuestCell& cell : placement.cells) cells.push_back(to_json(cell));
  Json vcpus = Json::array();
  for (const CpuSet& cpus : placement.vcpus) vcpus.push_back(cpus.to_string());
  Json vhost = Json::array();
  for (const CpuSet& cpus : placement.vhost) vhost.push_back(cpus.to_string());
  return {{"vcpus", std::move(vcpus)},
          {"emulator", placement.emulator.to_string()},
          {"vhost", std::move(vhost)},
          {"near", placement.near ? Json(*placement.near) : Json(nullptr)},
          {"node", placement.node ? Json(*placement.node) : Json(nullptr)},
          {"memory_nodes", placement.memory_nodes.to_string()},
          {"cells", std::move(cells)}};
}

PlacementRecord placement_from_json(const Json& json) {
  PlacementRecord placement;
  for (const Json& cpus : json.at("vcpus")) {
    placement.vcpus.push_back(CpuSet::parse(cpus.get<std::string>()));
  }
  placement.emulator = CpuSet::parse(json.at("emulator").get<std::string>());
  // A VM of a version before this has its workers where the emulator is.
  if (json.contains("vhost")) {
    for (const Json& cpus : json.at("vhost")) {
      placement.vhost.push_back(CpuSet::parse(cpus.get<std::string>()));
    }
  } else if (!placement.emulator.empty()) {
    placement.vhost = {placement.emulator};
  }
  if (!json.at("near").is_null()) placement.near = json.at("near").get<int>();
  if (!json.at("node").is_null()) placement.node = json.at("node").get<int>();
  // A VM of a version before guest nodes has none.
  if (json.contains("cells")) {
    for (const Json& cell : json.at("cells")) placement.cells.push_back(guest_cell_from_json(cell));
  }
  placement.memory_nodes = CpuSet::parse(json.value("memory_nodes", std::string()));
  return placement;
}

Json to_json(const NicRecord& nic) {
  return {{"id", nic.id},
          {"interface", nic.host_end.interface},
          {"queues", nic.host_end.queues},
          {"vhost", nic.host_end.vhost},
          {"text", nic.text}};
}

NicRecord nic_from_json(const Json& json) {
  return {.id = json.at("id").get<std::string>(),
          .host_end = {.interface = json.at("interface").get<std::string>(),
                       .queues = json.at("queues").get<int>(),
                       .vhost = json.at("vhost").get<bool>()},
          .text = json.at("text").get<std::string>()};
}

Json to_json(const std::map<std::string, DiskRecord>& disks) {
  Json json = Json::object();
  for (const auto& [id, disk] : disks) {
    json[id] = {{"files", to_json(disk.files)},
                {"fd_sets", disk.fd_sets},
                {"block_tree", disk.is_block_tree}};
  }
  return json;
}

std::map<std::string, DiskRecord> disks_from_json(const Json& json) {
  std::map<std::string, DiskRecord> disks;
  for (const auto& [id, disk] : json.items()) {
    disks[id] = {.files = disk_files_from_json(disk.at("files")),
                 .fd_sets = disk.at("fd_sets").get<std::vector<int>>(),
                 .is_block_tree = disk.value("block_tree", false)};
  }
  return disks;
}

NicForms nic_forms_from_json(const Json& json) {
  return {.stream_netdev = json.at("stream_netdev").get<bool>(),
          .reconnect_ms = json.at("reconnect_ms").get<bool>(),
          .vhost_user_intx = json.value("vhost_user_intx", false)};
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

std::vector<HostChange> host_changes(const std::vector<HostStep>& steps) {
  std::vector<HostChange> changes;
  for (const HostStep& step : steps) {
    changes.push_back({.kind = std::string(action_kind(step.action)),
                       .text = step.text,
                       .undo = step.undo,
                       .action = to_json(step.action)});
  }
  return changes;
}

std::vector<PassedRecord> passed_records(const std::vector<PassedDevice>& devices,
                                         const std::vector<TakenAlong>& along) {
  std::vector<PassedRecord> records;
  for (const PassedDevice& device : devices) {
    PassedRecord record{.id = device.id,
                        .address = device.address,
                        .pf = device.pf,
                        .vf_index = device.vf_index,
                        .with = {}};
    for (const TakenAlong& taken : along) {
      if (taken.with == device.address) record.with.push_back(taken.device);
    }
    records.push_back(std::move(record));
  }
  return records;
}

bool has_run(const VmState& state) {
  return state.state != RunState::kStarting && state.state != RunState::kRestarting;
}

namespace {

Json all_but_config(const VmState& state) {
  Json threads = Json::array();
  for (const VmThread& thread : state.threads) threads.push_back(to_json(thread));
  Json changes = Json::array();
  for (const HostChange& change : state.host_changes) changes.push_back(to_json(change));
  Json passed = Json::array();
  for (const PassedRecord& device : state.passed) passed.push_back(to_json(device));
  Json nics = Json::array();
  for (const NicRecord& nic : state.nics) nics.push_back(to_json(nic));
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
          {"restarts", state.restarts},
          {"last_end", state.last_end},
          {"qemu_path", state.qemu_path},
          {"qemu_version", state.qemu_version},
          {"accel", state.accel},
          {"threads", std::move(threads)},
          {"serial_sockets", state.serial_sockets},
          {"claim", to_json(state.claim)},
          {"placement", to_json(state.placement)},
          {"passed", std::move(passed)},
          {"nics", std::move(nics)},
          {"disks", to_json(state.disks)},
          {"next_fd_set", state.next_fd_set},
          {"user", state.user ? to_json(*state.user) : Json(nullptr)},
          {"nic_forms",
           {{"stream_netdev", state.nic_forms.stream_netdev},
            {"reconnect_ms", state.nic_forms.reconnect_ms},
            {"vhost_user_intx", state.nic_forms.vhost_user_intx}}},
          {"usb_places", state.usb_places},
          {"pending_unplugs", state.pending_unplugs},
          {"foreign_devices", state.foreign_devices},
          {"host_changes", std::move(changes)}};
}

}  // namespace

Json to_json(const VmState& state) {
  Json json = all_but_config(state);
  json["config"] = state.config;
  return json;
}

std::string to_line(const VmState& state) {
  const auto text_of = [](const Json& json) {
    constexpr int kCompact = -1;
    return json.dump(kCompact, ' ', false, Json::error_handler_t::replace);
  };
  std::string line = text_of(all_but_config(state));
  line.pop_back();  // "}"
  line += ",\"config\":" + text_of(state.config) + "}\n";
  return line;
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
    state.restarts = json.value("restarts", 0);
    state.last_end = json.value("last_end", std::string());
    state.qemu_path = json.at("qemu_path").get<std::string>();
    state.qemu_version = json.at("qemu_version").get<std::string>();
    state.accel = json.at("accel").get<std::string>();
    for (const Json& thread : json.at("threads")) state.threads.push_back(thread_from_json(thread));
    state.serial_sockets = json.at("serial_sockets").get<std::vector<std::string>>();
    state.claim = lease_from_json(json.at("claim"));
    // Versions before hotplug have none of these keys, those that changed nothing on the host no
    // host_changes.
    if (json.contains("placement")) state.placement = placement_from_json(json["placement"]);
    for (const Json& device : json.value("passed", Json::array())) {
      state.passed.push_back(passed_from_json(device));
    }
    for (const Json& nic : json.value("nics", Json::array())) {
      state.nics.push_back(nic_from_json(nic));
    }
    // Versions in which QEMU was as vmrig have none of these three.
    state.disks = disks_from_json(json.value("disks", Json::object()));
    state.next_fd_set = json.value("next_fd_set", VmState::kFirstHotplugFdSet);
    if (json.contains("user") && !json["user"].is_null())
      state.user = qemu_user_from_json(json["user"]);
    if (json.contains("nic_forms")) state.nic_forms = nic_forms_from_json(json["nic_forms"]);
    state.usb_places = json.value("usb_places", std::map<std::string, std::string>());
    state.pending_unplugs = json.value("pending_unplugs", std::vector<std::string>());
    state.foreign_devices = json.value("foreign_devices", std::vector<std::string>());
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
