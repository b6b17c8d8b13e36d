// Hotplug: what comes before a device is made in QEMU: its plan, its claim, its files, its host
// devices.
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <exception>
#include <nlohmann/json.hpp>
#include <utility>

#include "hostcfg/base/error.hpp"
#include "hostcfg/folder_reader.hpp"
#include "hostcfg/listeners.hpp"
#include "hostcfg/path_facts.hpp"
#include "hostcfg/process_facts.hpp"
#include "hostcfg/read_facts.hpp"
#include "launcher/host_work.hpp"
#include "launcher/hotplug/hotplug.hpp"
#include "launcher/hotplug/qemu_refusal.hpp"
#include "launcher/image_chain.hpp"
#include "launcher/image_fds.hpp"
#include "launcher/net_shares.hpp"
#include "launcher/network_names.hpp"
#include "launcher/page_claims.hpp"
#include "launcher/passthrough.hpp"
#include "launcher/vf_shares.hpp"

namespace vmrig {

namespace asio = boost::asio;

namespace {

// What is planned on a thread beside the event loop, with the lock on all VMs' claims.
struct Planned {
  std::optional<StateRoot::Lock> lock;
  AttachPlan plan;
  std::vector<PlugStep> files;  // that QEMU may not open itself
};

// No more than is looked at: a disk needs nothing but its path.
HostFacts facts_for(const VmConfig& alone) {
  const bool wants_pci = wants_pci_devices(alone) || wants_net_devices(alone);
  const bool wants_usb = wants_usb_devices(alone);
  if (wants_pci || wants_usb || !alone.memory.devices.empty()) {
    using Devices = FactsRequest::Devices;
    FactsRequest request;
    request.paths = paths_of(alone);
    request.devices = wants_pci ? Devices::kRead : Devices::kSkip;
    request.usb = wants_usb ? Devices::kRead : Devices::kSkip;
    request.listeners = forwards_ports(alone) ? Devices::kRead : Devices::kSkip;
    return read_host_facts(request, Topology::of_this_host());
  }
  HostFacts facts;
  const auto root = FolderReader::open("/");
  if (root) (void)read_process_facts(*root, facts);
  facts.paths = read_paths(paths_of(alone));
  if (root && forwards_ports(alone)) facts.listeners = read_listeners(*root);
  return facts;
}

// A user's network that forwards nothing, a tablet or an entropy source needs nothing of the host
// that another could hold.
bool needs_the_host(const AttachWish& wish) {
  return wants_pci_devices(wish.alone) || wants_net_devices(wish.alone) ||
         wants_usb_devices(wish.alone) || wish.kind == DeviceKind::kMemory ||
         !paths_of(wish.alone).empty() || forwards_ports(wish.alone);
}

// What the host's side of a start looks at.
Plan host_plan(const AttachPlan& attach) {
  Plan plan;
  plan.passed = attach.passed;
  plan.host_steps = attach.host_steps;
  return plan;
}

// Of the VM's own claim those that it has not got yet.
std::vector<PageClaim> pages_to_come(const StateRoot& root, const Lease& own) {
  const std::optional<VmEntry> self = root.find(own.vm);
  return self && self->state ? claim_now(*self).pages : own.pages;
}

// What hands QEMU the files that it may not open itself. Without a name for each: QEMU reads a
// command byte by byte, and is told by the number of the set. Throws vmrig::Error.
std::vector<PlugStep> open_files(const AttachPlan& plan) {
  std::vector<PlugStep> steps;
  for (const FdSetFile& file : plan.fd_sets) {
    steps.push_back({.plug = {"add-fd", Json{{"fdset-id", file.set}}},
                     .unplug = fdset_removal(file.set),
                     .file = open_image(file.source)});
  }
  return steps;
}

Planned plan_now(const AttachWish& wish, const VmFolder& folder, const Lease& own,
                 const AttachPlanOptions& options) {
  Planned planned;
  HostFacts facts;
  std::vector<Lease> leases = {own};
  if (needs_the_host(wish)) {
    if (const auto root = StateRoot::open_existing(folder.root_path())) {
      planned.lock = root->lock();
      for (Lease& lease : leases_of(root->list_but(own.vm))) leases.push_back(std::move(lease));
      if (wish.kind == DeviceKind::kMemory) leases.front().pages = pages_to_come(*root, own);
    }
    facts = facts_for(wish.alone);
  }
  const qmp::QemuCaps no_caps;  // QEMU itself says what it can't do
  const PlanInput input{.config = wish.alone,
                        .facts = facts,
                        .caps = no_caps,
                        .qemu = {},
                        .leases = std::move(leases)};
  planned.plan = plan_attach(wish, input, options);
  planned.files = open_files(planned.plan);
  if (!planned.plan.passed.empty() && planned.lock) {
    LinuxHost host;
    claim_vf_shares(host, host_plan(planned.plan), folder, *planned.lock);
  }
  if (planned.lock) {
    LinuxHost host;
    claim_net_shares(host, host_plan(planned.plan), folder, *planned.lock);
  }
  return planned;
}

// VFIO locks all of the guest's memory, which QEMU's limit was not made for at its start.
void lift_memory_lock_limit(pid_t qemu) {
  const rlimit unlimited{.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
  // Without the right to, QEMU's own error tells of the limit.
  (void)::prlimit(qemu, RLIMIT_MEMLOCK, &unlimited, nullptr);
}

// Whether the device is a PCI function, mostly.
bool wants_port(DeviceKind kind) {
  return kind != DeviceKind::kMemory && kind != DeviceKind::kUsb && kind != DeviceKind::kChannel;
}

}  // namespace

// QEMU is asked for a port while the host is looked at: each takes its time.
asio::awaitable<Hotplug::PreparedAttach> Hotplug::prepare_attach(const AttachRequest& request,
                                                                 AttachWish& wish,
                                                                 PortSearch& search,
                                                                 qmp::Deadline deadline) {
  PreparedAttach prepared;
  try {
    auto planning = plan_and_claim(request, wish, deadline);
    if (wants_port(request.kind) && config().machine.type == MachineType::kQ35) {
      using asio::experimental::awaitable_operators::operator&&;
      // What planning does on this thread goes first: QEMU would wake on its CPU.
      auto both = std::move(planning) && search_ahead(search, deadline);
      prepared = co_await std::move(both);
    } else {
      prepared = co_await std::move(planning);
    }
  } catch (...) {
    give_up_ports(search);
    throw;
  }
  co_return prepared;
}

asio::awaitable<Hotplug::PreparedAttach> Hotplug::plan_and_claim(const AttachRequest& request,
                                                                 AttachWish& wish,
                                                                 qmp::Deadline deadline) {
  std::optional<Turn::Holder> turn(co_await planning_.take());
  wish = read_wish(parts_.state.config, request.kind, request.device);
  if (wants_pci_devices(wish.alone)) {
    lift_memory_lock_limit(parts_.state.qemu.pid);
  }
  AttachPlanOptions options;
  options.near = parts_.state.placement.near;
  options.memory_nodes = parts_.state.placement.memory_nodes;
  options.nic_forms = parts_.state.nic_forms;
  options.user = parts_.state.user.value_or(QemuUser());
  options.next_fd_set = parts_.state.next_fd_set;
  // -netdev stream looks for its fd on a thread that knows no monitor, and so none of its names; it
  // says nothing, and never connects (qemu net/stream.c, seen with 7.2).
  options.nic_forms.stream_netdev = false;
  for (const HostChange& change : parts_.state.host_changes) {
    if (change.action.is_null()) continue;
    HostAction action = host_action_from_json(change.action);
    if (const auto* cgroup = std::get_if<CreateCgroup>(&action)) options.cgroup = cgroup->group;
    const auto* grant = std::get_if<GrantAccess>(&action);
    const bool is_once = is_shared(action) || (grant != nullptr && grant->device.empty());
    if (is_once) options.shares.push_back(std::move(action));
  }
  Planned planned;
  std::exception_ptr fault;
  try {
    if (needs_the_host(wish)) {
      std::function<void()> work = [&] {
        planned = plan_now(wish, parts_.folder(), parts_.state.claim, options);
      };
      co_await run_aside(std::move(work));
    } else {
      planned = plan_now(wish, parts_.folder(), parts_.state.claim, options);
    }
  } catch (...) {
    fault = std::current_exception();
  }
  PreparedAttach prepared;
  const bool is_planned = !fault;
  if (is_planned) {
    auto claiming = [&]() -> asio::awaitable<void> {
      try {
        claim(planned.plan, wish);
      } catch (...) {
        fault = std::current_exception();
      }
      planned.lock.reset();
      if (!fault) turn.reset();
      co_return;
    };
    if (planned.files.empty()) {
      co_await claiming();
    } else {
      // QEMU takes the files while the claim is written down; no other plan waits for that.
      using asio::experimental::awaitable_operators::operator&&;
      auto both = hand_over_files(std::move(planned.files), wish.id, deadline) && claiming();
      HandedFiles handed = co_await std::move(both);
      prepared.files = std::move(handed.steps);
      if (!fault) fault = handed.fault;
      if (fault) co_await take_back(prepared.files);
    }
  }
  if (fault) {
    // In a turn: shares that were claimed for another attach may not be in the state yet.
    if (!turn) turn.emplace(co_await planning_.take());
    if (is_planned) co_await forget(wish.id);
    co_await give_back_strays();
    plugging_.erase(wish.id);
    std::rethrow_exception(fault);
  }
  prepared.plan = std::move(planned.plan);
  co_return prepared;
}

// A supervisor that dies before the claim is written leaves them to settle(). Does not throw.
asio::awaitable<Hotplug::HandedFiles> Hotplug::hand_over_files(std::vector<PlugStep> files,
                                                               std::string id,
                                                               qmp::Deadline deadline) {
  HandedFiles handed;
  try {
    co_await make(std::move(files), handed.steps, deadline);
  } catch (const qmp::Error& error) {
    handed.fault = std::make_exception_ptr(qemu_refusal("attach", id, error));
  } catch (...) {
    handed.fault = std::current_exception();
  }
  co_return handed;
}

// Before anything happens but that files are handed over, and under the lock. Throws vmrig::Error
// when the claim can't be written: after the death of this supervisor nobody would know of it.
// Takes the config out of the wish.
void Hotplug::claim(const AttachPlan& plan, AttachWish& wish) {
  for (PassedRecord& record : passed_records(plan.passed, plan.along)) {
    parts_.state.passed.push_back(std::move(record));
  }
  for (const PciAddress& address : addresses_of(plan.passed, plan.along)) {
    parts_.state.claim.pci.push_back(address);
  }
  if (plan.host_end) {
    const NicConfig& nic = wish.alone.nics.front();
    parts_.state.nics.push_back(
        {.id = nic.id, .host_end = *plan.host_end, .text = host_end_text(nic, *plan.host_end)});
  }
  for (HostChange& change : host_changes(plan.host_steps)) {
    parts_.state.host_changes.push_back(std::move(change));
  }
  if (plan.disk_files) {
    DiskRecord& disk = parts_.state.disks[wish.id];
    disk.files = *plan.disk_files;
    disk.is_block_tree = true;
    for (const FdSetFile& file : plan.fd_sets) disk.fd_sets.push_back(file.set);
    parts_.state.next_fd_set += static_cast<int>(plan.fd_sets.size());
  }
  if (!plan.usb_place.empty()) parts_.state.usb_places[wish.id] = plan.usb_place;
  plugging_.insert(wish.id);
  change_config(std::move(wish.after), std::move(wish.after_json));
  parts_.save_or_throw();
}

asio::awaitable<void> Hotplug::take_host_devices(const AttachPlan& plan) {
  if (plan.host_steps.empty()) co_return;
  const Plan steps = host_plan(plan);
  co_await parts_.host.prepare(steps, parts_.folder());
}

}  // namespace vmrig
