#include "launcher/commands/prepare.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "hostcfg/base/json_document.hpp"
#include "hostcfg/read_facts.hpp"
#include "launcher/caps_cache.hpp"
#include "launcher/cli/progress_line.hpp"
#include "launcher/cli/report.hpp"
#include "launcher/commands/environment.hpp"
#include "launcher/commands/read_input.hpp"
#include "launcher/config/load_config.hpp"
#include "launcher/host_work.hpp"
#include "launcher/image_chain.hpp"
#include "launcher/initial_state.hpp"
#include "launcher/net_shares.hpp"
#include "launcher/orphans.hpp"
#include "launcher/state_dir.hpp"
#include "launcher/vf_shares.hpp"

namespace vmrig {
namespace {

std::string recorded_text(const char* what, const std::string& path, const char* mend) {
  constexpr std::size_t kLimit = std::size_t{64} << 20;  // 72 CPUs make 30 kB of facts
  std::string text = read_input(what, path, kLimit);
  if (text.size() <= kLimit) return text;
  throw Error({.status = ExitStatus::kUsage,
               .operation = std::string("read ") + what,
               .object = path,
               .cause = "it is larger than 64 MiB",
               .mend = mend});
}

HostFacts recorded_facts(const std::string& path) {
  const char* mend = "vmrig host facts > FILE makes one";
  const Json json = Json::parse(recorded_text("facts", path, mend), nullptr, false);
  std::string cause = "it is no JSON";
  if (!json.is_discarded()) {
    try {
      return facts_from_json(json);
    } catch (const Error& error) {
      cause = error.what();
    }
  }
  throw Error({.status = ExitStatus::kUsage,
               .operation = "read facts",
               .object = path,
               .cause = cause,
               .mend = mend});
}

qmp::QemuCaps recorded_caps(const std::string& path) {
  const char* mend = "vmrig probe --json > FILE makes one";
  const std::string text = recorded_text("QEMU's abilities", path, mend);
  try {
    return qmp::QemuCaps::parse(text);
  } catch (const qmp::CapsError& error) {
    throw Error({.status = ExitStatus::kUsage,
                 .operation = "read QEMU's abilities",
                 .object = path,
                 .cause = error.what(),
                 .mend = mend});
  }
}

struct Qemu {
  std::string path;
  qmp::QemuCaps caps;
};

Qemu find_out_about_qemu(const PlanSources& sources, const VmConfig& config) {
  if (sources.caps_path) {
    return {.path = config.qemu.empty() ? kDefaultQemu : config.qemu,
            .caps = recorded_caps(*sources.caps_path)};
  }
  std::string path = find_qemu(config.qemu, environment_value("PATH"));
  CapsOptions options;
  options.cache_folder = cache_folder();
  // Once for each binary.
  const ProgressLine progress(fmt::format("asking {} what it can do", quote(path)),
                              options.probe_timeout);
  qmp::QemuCaps caps = load_caps(path, options);
  return {.path = std::move(path), .caps = std::move(caps)};
}

PreparedPlan plan_with(const Qemu& qemu, const PlanSources& sources, const VmConfig& config,
                       std::vector<Lease> leases, const std::string& state_folder) {
  std::optional<Topology> topology;
  HostFacts facts;
  if (sources.facts_path) {
    facts = recorded_facts(*sources.facts_path);
  } else {
    topology = Topology::of_this_host();
    FactsRequest request;
    request.paths = paths_of(config);
    request.paths.push_back(qemu.path);
    if (config.security.user != kAutoUser && config.security.user != kCallingUser) {
      request.users.push_back(config.security.user);
    }
    // Reading them takes most of the time.
    request.devices = wants_pci_devices(config) || wants_net_devices(config)
                          ? FactsRequest::Devices::kRead
                          : FactsRequest::Devices::kSkip;
    request.usb =
        wants_usb_devices(config) ? FactsRequest::Devices::kRead : FactsRequest::Devices::kSkip;
    if (forwards_ports(config)) request.listeners = FactsRequest::Devices::kRead;
    facts = read_host_facts(request, *topology);
  }
  Plan plan = make_plan({.config = config,
                         .facts = facts,
                         .caps = qemu.caps,
                         .qemu = qemu.path,
                         .leases = std::move(leases),
                         .state_folder = state_folder});
  return {.plan = std::move(plan), .topology = std::move(topology), .facts = std::move(facts)};
}

bool pins_threads(const Plan& plan) {
  const ThreadPlacement& placement = plan.placement;
  return !placement.iothreads.empty() ||
         std::any_of(placement.vcpus.begin(), placement.vcpus.end(),
                     [](const CpuSet& cpus) { return !cpus.empty(); });
}

void recover_with_notes(StateRoot& root, const StateRoot::Lock& lock) {
  LinuxHost host;
  for (const RecoveredVm& vm : recover_dead_vms(root, lock, host)) {
    for (const std::string& line : report_lines(vm.report)) {
      note(fmt::format("put back for {}: {}", quote(vm.name), line));
    }
    for (const std::string& problem : vm.problems) note(problem);
  }
}

constexpr std::chrono::seconds kEndTimeout{30};

// Of the name that is to be started: what its killed predecessor holds is wanted back. Before the
// lock, so that no other start waits for it.
void end_predecessor(const StateRoot& root, const std::string& name) {
  std::vector<VmEntry> predecessor;
  if (!why_bad_name(name).empty()) return;
  if (std::optional<VmEntry> vm = root.find(name)) predecessor.push_back(std::move(*vm));
  (void)end_doomed(predecessor, qmp::deadline_in(kEndTimeout));
}

// What `vmrig recover` does, but waits for nobody: what takes longer is done beside this start, and
// counts as held until then. Returns the VMs after it.
std::vector<VmEntry> recover_first(StateRoot& root, const StateRoot::Lock& lock) {
  // Read once, unless there is something to recover: on a host of many VMs this is what a start
  // takes longest for, with all others waiting.
  std::vector<VmEntry> vms = root.list();
  std::vector<std::string> orphans;
  for (const VmEntry& vm : vms) {
    // One that ran in the foreground is for its service manager to go on with (run --take-over).
    if (is_orphan(vm) && vm.state->detached) orphans.push_back(vm.name);
  }
  try {
    (void)end_doomed(vms, qmp::Deadline{});
  } catch (const Error& error) {
    note(error.what());
  }
  if (!orphans.empty()) adopt_orphans_unheard(root.path(), orphans);
  const auto is_dead = [](const VmEntry& vm) { return !vm.living(); };
  if (std::none_of(vms.begin(), vms.end(), is_dead)) return vms;
  recover_with_notes(root, lock);
  return root.list();
}

// What a start that fails has claimed.
void give_claim_back(VmFolder& folder, const StateRoot::Lock& lock) {
  LinuxHost host;
  try {
    if (!undo_host_steps(host, folder, lock).complete()) return;
  } catch (const Error&) {
    return;  // it is in the journal, for the next start or recover
  }
  folder.remove_if_possible();
}

}  // namespace

void describe_sources(CommandLine& line, PlanSources& sources) {
  line.positional("CONFIG", "The VM's JSON file; - is standard input", sources.config_path);
  line.repeated("--set", "PATH=VALUE", "Lay a value over the file's: --set cpu.vcpus=4",
                sources.settings);
}

VmConfig read_config(const PlanSources& sources) {
  const bool is_input = sources.config_path == "-";
  ConfigSource source;
  source.text = read_input("config", sources.config_path, JsonDocument::kMaxBytes);
  source.file = is_input ? "standard input" : sources.config_path;
  source.folder = input_folder(sources.config_path);
  source.environment = whole_environment();
  source.settings = sources.settings;
  return load_config(source);
}

PreparedPlan prepare_plan(const PlanSources& sources, const VmConfig& config,
                          std::vector<Lease> leases, const std::string& state_folder) {
  const Qemu qemu = find_out_about_qemu(sources, config);
  return plan_with(qemu, sources, config, std::move(leases), state_folder);
}

LaunchRequest claim_vm(const Context& context, const PlanSources& sources, RunMode mode) {
  const VmConfig config = read_config(sources);
  const Qemu qemu = find_out_about_qemu(sources, config);  // may take a while: before the lock
  StateRoot root = StateRoot::open(state_folder(context));
  const StateRoot::Lock lock = [&] {
    const ProgressLine progress("waiting for other VMs that end or are being started");
    end_predecessor(root, config.name);
    return root.lock();
  }();
  const std::vector<VmEntry> vms = recover_first(root, lock);
  // What this very name holds is no conflict: claim() tells that it runs already.
  std::vector<Lease> leases = leases_of(vms);
  std::erase_if(leases, [&](const Lease& lease) { return lease.vm == config.name; });
  for (Lease& owed : owed_uids(vms)) leases.push_back(std::move(owed));
  PreparedPlan prepared = plan_with(qemu, sources, config, std::move(leases), root.path());
  const bool runs_already = std::any_of(vms.begin(), vms.end(), [&](const VmEntry& vm) {
    return vm.name == config.name && vm.living();
  });
  if (!runs_already) prepared.plan.require_good();
  VmState state = initial_state(prepared.plan, mode);
  VmFolder folder = root.claim(lock, state);
  LinuxHost host;
  try {
    claim_vf_shares(host, prepared.plan, folder, lock);
    claim_net_shares(host, prepared.plan, folder, lock);
  } catch (const Error&) {
    give_claim_back(folder, lock);
    throw;
  }
  if (!pins_threads(prepared.plan)) prepared.topology.reset();
  return {.plan = std::move(prepared.plan),
          .folder = std::move(folder),
          .state = std::move(state),
          .topology = std::move(prepared.topology),
          .memory = {}};
}

}  // namespace vmrig
