#include "launcher/net_shares.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "hostcfg/journal.hpp"
#include "launcher/host_work.hpp"

namespace vmrig {
namespace {

// The device, folder or pool that VMs share; empty: the action changes none.
std::string shared_device(const HostAction& action) {
  if (const auto* share = std::get_if<ShareCgroup>(&action)) return share->group();
  if (const auto* pages = std::get_if<ReservePages>(&action)) {
    return fmt::format("pool of {} on node {}", to_string(pages->page_size), pages->node);
  }
  if (const auto* mount = std::get_if<MountHugetlbfs>(&action)) return mount->path;
  if (const auto* grant = std::get_if<GrantAccess>(&action)) {
    return grant->is_shared ? fmt::format("{} for user {}", grant->path, grant->uid)
                            : std::string();
  }
  if (const auto* bridge = std::get_if<CreateBridge>(&action)) return bridge->name;
  if (const auto* vlan = std::get_if<CreateVlan>(&action)) return vlan->name;
  return {};
}

bool has_share(const StateRoot& root, const VmEntry& vm, const std::string& device) {
  try {
    const auto journal = read_journal(root.path() + "/" + vm.name + "/" + kJournalName);
    if (!journal) return false;
    const std::vector<const JournalEntry*> open = journal->open();
    return std::any_of(open.begin(), open.end(), [&device](const JournalEntry* entry) {
      return shared_device(entry->action) == device;
    });
  } catch (const Error&) {
    return true;
  }
}

// What stood there before the first of the living VMs that share it.
std::optional<OldState> old_of_others(const HostAction& action, const VmFolder& folder) {
  const std::string device = shared_device(action);
  const std::optional<StateRoot> root = StateRoot::open_existing(folder.root_path());
  if (!root) return std::nullopt;
  for (const VmEntry& vm : root->list()) {
    if (vm.name == folder.name() || !vm.living()) continue;
    try {
      const auto journal = read_journal(root->path() + "/" + vm.name + "/" + kJournalName);
      if (!journal) continue;
      for (const JournalEntry* entry : journal->open()) {
        if (shared_device(entry->action) == device) return entry->old;
      }
    } catch (const Error&) {
      continue;
    }
  }
  return std::nullopt;
}

}  // namespace

void claim_net_shares(HostControl& host, const Plan& plan, const VmFolder& folder,
                      const StateRoot::Lock&) {
  std::optional<HostLease> lease;
  for (const HostStep& step : plan.host_steps) {
    // Of a pool each VM has its own pages, and what stood there before is read when they are added.
    const bool is_pool = std::holds_alternative<ReservePages>(step.action);
    if (is_pool || shared_device(step.action).empty()) continue;
    if (!lease) lease.emplace(host, folder.path_of(kJournalName), this_owner());
    // Of the others, what stands there tells who made it.
    const bool asks_others = std::holds_alternative<ShareCgroup>(step.action) ||
                             std::holds_alternative<GrantAccess>(step.action);
    const std::optional<OldState> old =
        asks_others ? old_of_others(step.action, folder) : std::nullopt;
    if (old) {
      lease->intend(step.action, *old);
    } else {
      lease->intend(step.action);
    }
  }
}

bool do_others_share(const HostAction& action, const VmFolder& folder, const StateRoot::Lock&) {
  const std::string device = shared_device(action);
  const std::optional<StateRoot> root = StateRoot::open_existing(folder.root_path());
  if (device.empty() || !root) return false;
  const std::vector<VmEntry> vms = root->list();
  return std::any_of(vms.begin(), vms.end(), [&](const VmEntry& vm) {
    return vm.name != folder.name() && vm.living() && has_share(*root, vm, device);
  });
}

}  // namespace vmrig
