// vmrig status: one VM in full.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "devices/channel.hpp"
#include "hostcfg/folder_reader.hpp"
#include "hostcfg/set_scheduler.hpp"
#include "hostcfg/thread_affinity.hpp"
#include "launcher/cli/output.hpp"
#include "launcher/commands/commands.hpp"
#include "launcher/commands/vm_connection.hpp"
#include "launcher/commands/vm_summary.hpp"
#include "launcher/vhost_threads.hpp"
#include "launcher/vm_limits.hpp"

namespace vmrig {
namespace {

// A thread as recorded, and what the kernel says of it now.
struct LiveThread {
  VmThread recorded;
  std::optional<CpuSet> allowed;  // none: the thread is gone
  ThreadScheduler scheduler;
};

// Of the recorded threads, those that are still this VM's: a tid may be another's by now.
std::vector<LiveThread> read_threads(const VmEntry& entry) {
  std::vector<LiveThread> threads;
  if (!entry.state) return threads;
  std::optional<FolderReader> tasks;
  std::vector<VmThread> workers;  // the kernel's, for this QEMU
  if (entry.qemu_alive) {
    const pid_t qemu = entry.state->qemu.pid;
    tasks = FolderReader::open(fmt::format("/proc/{}/task", qemu));
    workers = vhost_threads(qemu, {});
  }
  const auto is_its_own = [&](const VmThread& thread) {
    if (tasks && tasks->exists(fmt::format("{}", thread.tid).c_str())) return true;
    return std::any_of(workers.begin(), workers.end(),
                       [&thread](const VmThread& worker) { return worker.tid == thread.tid; });
  };
  for (const VmThread& thread : entry.state->threads) {
    LiveThread live{.recorded = thread, .allowed = std::nullopt, .scheduler = {}};
    if (is_its_own(thread)) {
      try {
        live.allowed = thread_affinity(thread.tid);
        live.scheduler = read_scheduler(thread.tid);
      } catch (const Error&) {
        live.allowed.reset();  // ended between the two looks
      }
    }
    threads.push_back(std::move(live));
  }
  return threads;
}

// What the supervisor says of what no record has; null when there is none.
Json ask_for_status(const Context& context, const StateRoot& root, const std::string& name) {
  const VmEntry entry = find_vm(root, name);
  if (!entry.supervisor_alive || entry.condition == VmCondition::kStarting) return nullptr;
  const ProgressLine progress = waiting_for(name);
  try {
    VmConnection vm = VmConnection::open(context, name);
    if (vm.far() != VmConnection::Far::kSupervisor) return nullptr;
    return vm.execute("vmrig-status", Json::object(), qmp::deadline_in(kTalkTimeout)).at("live");
  } catch (const Error&) {
    // One that died at the talk leaves the record, which says so.
    if (find_vm(root, name).supervisor_alive) throw;
    return nullptr;
  }
}

std::string version_of(const VmEntry& entry) {
  return entry.state ? entry.state->qemu_version : std::string();
}

Json thread_json(const LiveThread& thread) {
  const VmThread& recorded = thread.recorded;
  return {{"role", recorded.role},
          {"id", recorded.id},
          {"tid", recorded.tid},
          {"pinned", recorded.cpus.to_string()},
          {"cpus", thread.allowed ? Json(thread.allowed->to_string()) : Json(nullptr)},
          {"scheduler", thread.allowed ? to_json(thread.scheduler) : Json(nullptr)}};
}

// In what the supervisor says; nullptr without a balloon.
const Json* balloon_of(const Json& live) {
  const auto found = live.find("balloon");
  return found != live.end() ? &*found : nullptr;
}

// A channel, with the socket that leads to it and whether the guest listens; null: nobody knows.
Json channels_json(const VmEntry& entry, const VmFolder& folder, const Json& live) {
  Json list = Json::array();
  const Json open = live.is_object() ? live.value("channels", Json::object()) : Json::object();
  for (const Json& channel : entry.state->config.value("channels", Json::array())) {
    const std::string id = channel.value("id", std::string());
    list.push_back({{"id", id},
                    {"name", channel.value("name", std::string())},
                    {"socket", folder.path_of(channel_socket_name(id))},
                    {"open", open.contains(id) ? open.at(id) : Json(nullptr)}});
  }
  return list;
}

Json limits_json(const VmLimits& limits) {
  Json readings = Json::array();
  for (const LimitReading& reading : limits.readings) {
    readings.push_back(
        {{"file", reading.file}, {"wanted", reading.wanted}, {"found", reading.found}});
  }
  Json out = {{"group", limits.group}, {"has_qemu", limits.has_qemu}, {"limits", readings}};
  if (limits.memory) out["memory_bytes"] = limits.memory->value;
  if (limits.tasks) out["tasks"] = *limits.tasks;
  if (limits.cpu_us) out["cpu_us"] = *limits.cpu_us;
  return out;
}

Json status_json(const VmEntry& entry, const VmFolder& folder, const Json& live) {
  const VmSummary vm = summarise(entry);
  Json out = {
      {"name", entry.name},
      {"state", condition_name(entry.condition)},
      {"reason", vm.reason},
      {"pid", vm.pid > 0 ? Json(vm.pid) : Json(nullptr)},
      {"supervisor", vm.supervisor > 0 ? Json(vm.supervisor) : Json(nullptr)},
      {"vcpus", vm.vcpus},
      {"memory", vm.memory},
      {"node", vm.node ? Json(*vm.node) : Json(nullptr)},
      {"uptime_s", vm.uptime ? Json(vm.uptime->count()) : Json(nullptr)},
      {"logs", {{"qemu", folder.path_of(kQemuLogName)}, {"vmrig", folder.path_of(kVmrigLogName)}}},
      {"threads", Json::array()},
      {"live", live}};
  for (const LiveThread& thread : read_threads(entry)) {
    out["threads"].push_back(thread_json(thread));
  }
  if (entry.state) {
    out["qemu"] = {{"path", entry.state->qemu_path},
                   {"version", version_of(entry)},
                   {"accel", entry.state->accel}};
    out["user"] = entry.state->user ? to_json(*entry.state->user) : Json(nullptr);
    out["config"] = entry.state->config;
    out["claim"] = to_json(entry.state->claim);
    Json changes = Json::array();
    for (const HostChange& change : entry.state->host_changes) {
      changes.push_back({{"kind", change.kind}, {"text", change.text}, {"undo", change.undo}});
    }
    out["host_changes"] = std::move(changes);
    Json nics = Json::array();
    for (const NicRecord& nic : entry.state->nics) {
      nics.push_back({{"id", nic.id},
                      {"interface", nic.host_end.interface},
                      {"queues", nic.host_end.queues},
                      {"vhost", nic.host_end.vhost},
                      {"text", nic.text}});
    }
    out["nics"] = std::move(nics);
    if (const auto limits = read_vm_limits(*entry.state)) out["limits"] = limits_json(*limits);
    out["channels"] = channels_json(entry, folder, live);
    out["restarts"] = entry.state->restarts;
    out["last_end"] = entry.state->last_end;
    out["pending_unplugs"] = entry.state->pending_unplugs;
    out["foreign_devices"] = entry.state->foreign_devices;
    out["vmrig_version"] = entry.state->vmrig_version;
  }
  if (const Json* balloon = balloon_of(live)) out["balloon"] = *balloon;
  if (!entry.problem.empty()) out["problem"] = entry.problem;
  return out;
}

std::string mib_text(const Json& bytes) {
  return fmt::format("{} MiB", bytes.get<std::uint64_t>() >> 20);
}

// "200 MiB; the guest says: 120 MiB free of 230 MiB, 3 s ago"; empty without a balloon.
std::string balloon_text(const Json& live) {
  const Json* found = balloon_of(live);
  if (found == nullptr) return {};
  const Json& balloon = *found;
  std::string text = mib_text(balloon.at("actual"));
  const Json& stats = balloon.at("stats");
  if (!stats.contains("free-memory") || !stats.contains("total-memory")) {
    return text + "; the guest says nothing of its memory";
  }
  text += fmt::format("; the guest says: {} free of {}", mib_text(stats.at("free-memory")),
                      mib_text(stats.at("total-memory")));
  return text + fmt::format(", {} s ago", balloon.value("age_s", 0));
}

// Ids and what stands behind them, of the config's lists of devices.
std::vector<std::vector<std::string>> device_rows(const Json& config,
                                                  const std::vector<NicRecord>& nics) {
  struct List {
    const char* place;  // a JSON pointer
    const char* kind;
    std::vector<const char*> details;
  };
  static const std::vector<List> kLists = {{"/disks", "disk", {"path", "format"}},
                                           {"/nics", "nic", {"mac"}},
                                           {"/vfio", "vfio", {"host"}},
                                           {"/usb", "usb", {"type", "path"}},
                                           {"/memory/devices", "memory", {"kind", "size"}},
                                           {"/rngs", "rng", {}},
                                           {"/serial", "serial", {"type"}},
                                           {"/channels", "channel", {"name"}},
                                           {"/iothreads", "iothread", {"pin"}}};
  std::vector<std::vector<std::string>> rows;
  for (const List& list : kLists) {
    const Json::json_pointer place(list.place);
    if (!config.contains(place) || !config.at(place).is_array()) continue;
    for (const Json& device : config.at(place)) {
      if (!device.is_object()) continue;
      std::string details;
      for (const char* key : list.details) {
        const auto value = device.find(key);
        if (value == device.end() || !value->is_string()) continue;
        if (!details.empty()) details += ' ';
        details += printable(value->get<std::string>());
      }
      const std::string id = device.value("id", std::string("?"));
      for (const NicRecord& nic : nics) {
        if (nic.id == id) details += ", " + printable(nic.text);
      }
      rows.push_back({fmt::format("  {}", list.kind), printable(id), details});
    }
  }
  return rows;
}

std::string thread_table(const std::vector<LiveThread>& threads) {
  const bool has_realtime =
      std::any_of(threads.begin(), threads.end(),
                  [](const LiveThread& thread) { return thread.scheduler.is_realtime(); });
  std::vector<std::vector<std::string>> rows = {{"THREAD", "TID", "PINNED", "MAY RUN ON"}};
  if (has_realtime) rows.front().emplace_back("SCHEDULER");
  for (const LiveThread& thread : threads) {
    const VmThread& recorded = thread.recorded;
    std::string label = recorded.role;
    if (!recorded.id.empty()) label += " " + recorded.id;
    rows.push_back({fmt::format("  {}", printable(label)), fmt::format("{}", recorded.tid),
                    recorded.cpus.empty() ? "no" : recorded.cpus.to_string(),
                    thread.allowed ? thread.allowed->to_string() : "gone"});
    if (has_realtime) rows.back().push_back(thread.allowed ? to_string(thread.scheduler) : "");
  }
  return table(rows);
}

std::string head(const VmEntry& entry, const VmSummary& vm) {
  std::string text =
      fmt::format("{}   {}", styled(printable(entry.name), Style::kBold, stdout_colour()),
                  condition_name(entry.condition));
  if (!vm.reason.empty()) text += fmt::format(" ({})", printable(vm.reason));
  if (vm.uptime) text += ", up " + duration_text(*vm.uptime);
  return text + "\n";
}

std::string status_text(const VmEntry& entry, const VmFolder& folder, const Json& live) {
  const VmSummary vm = summarise(entry);
  std::string text = head(entry, vm);
  std::vector<std::vector<std::string>> rows;
  if (entry.state) {
    const VmState& state = *entry.state;
    rows.push_back({"QEMU", printable(fmt::format("{}, {}, {}", version_of(entry), state.accel,
                                                  state.qemu_path))});
    rows.push_back(
        {"processes",
         fmt::format("QEMU {}, supervisor {}", vm.pid > 0 ? fmt::format("{}", vm.pid) : "gone",
                     vm.supervisor > 0 ? fmt::format("{}", vm.supervisor) : "gone")});
    if (state.user) rows.push_back({"user", printable(describe(*state.user))});
    rows.push_back({"guest", fmt::format("{} vCPUs, {}{}", vm.vcpus, printable(vm.memory),
                                         vm.node ? fmt::format(", node {}", *vm.node) : "")});
    const std::string balloon = balloon_text(live);
    if (!balloon.empty()) rows.push_back({"balloon", balloon});
    if (state.restarts > 0) {
      rows.push_back({"restarts", fmt::format("{}; before the last: {}", state.restarts,
                                              printable(state.last_end))});
    }
    for (const Json& channel : channels_json(entry, folder, live)) {
      const Json& open = channel.at("open");
      rows.push_back({"channel", printable(channel.at("socket").get<std::string>()) +
                                     (!open.is_boolean() ? ""
                                      : open.get<bool>() ? ", the guest listens"
                                                         : ", nobody listens in the guest")});
    }
    if (const auto limits = read_vm_limits(state); limits && entry.qemu_alive) {
      rows.push_back({"limits", printable(limits_text(*limits))});
    }
  }
  if (!entry.problem.empty()) rows.push_back({"record", printable(entry.problem)});
  rows.push_back({"logs", printable(folder.path_of(kQemuLogName))});
  rows.push_back({"", printable(folder.path_of(kVmrigLogName))});
  text += table(rows);
  const std::vector<LiveThread> threads = read_threads(entry);
  if (!threads.empty()) text += thread_table(threads);
  if (entry.state && !entry.state->host_changes.empty()) {
    std::vector<std::vector<std::string>> changes = {{"HOST", "CHANGED", "UNDONE AT THE END"}};
    for (const HostChange& change : entry.state->host_changes) {
      changes.push_back({fmt::format("  {}", printable(change.kind)), printable(change.text),
                         printable(change.undo)});
    }
    text += table(changes);
  }
  if (entry.state && entry.state->config.is_object()) {
    const auto devices = device_rows(entry.state->config, entry.state->nics);
    if (!devices.empty()) text += "DEVICES\n" + table(devices);
    for (const std::string& id : entry.state->foreign_devices) {
      text += fmt::format("  {} (by QMP, not in the config)\n", printable(id));
    }
    for (const std::string& id : entry.state->pending_unplugs) {
      text += fmt::format("  {} is to go, and waits for the guest\n", printable(id));
    }
  }
  return text;
}

struct StatusOptions {
  std::string name;
  bool ready = false;
  bool json = false;
};

// For a container's probe: a guest that runs, and a supervisor that answers.
ExitStatus ready(const VmEntry& entry, const Json& live) {
  const bool is_ready = entry.condition == VmCondition::kRunning && !live.is_null();
  return is_ready ? ExitStatus::kDone : ExitStatus::kFailed;
}

ExitStatus status(const StatusOptions& options, const Context& context) {
  const StateRoot root = open_root_for(context, options.name);
  const Json live = ask_for_status(context, root, options.name);
  const VmEntry entry = find_vm(root, options.name);  // after the talk: as new as what was said
  if (options.ready) return ready(entry, live);
  const VmFolder folder = root.folder(options.name);
  if (options.json) {
    write_json(status_json(entry, folder, live));
  } else {
    write_out(status_text(entry, folder, live));
  }
  return ExitStatus::kDone;
}

}  // namespace

RunCommand define_status(CommandLine& line) {
  auto options = std::make_shared<StatusOptions>();
  line.positional("NAME", "The VM", options->name);
  line.flag("--ready", "Print nothing; exit status 0 when the guest runs, 1 when it does not",
            options->ready);
  line.flag("--json", "As JSON", options->json);
  return [options](const Context& context) { return status(*options, context); };
}

}  // namespace vmrig
