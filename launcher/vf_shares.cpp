#include "launcher/vf_shares.hpp"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>
#include <variant>
#include <vector>

#include "hostcfg/journal.hpp"
#include "launcher/host_work.hpp"

namespace vmrig {
namespace {

using Stage = JournalEntry::Stage;

bool is_count_of(const HostAction& action, const PciAddress& pf) {
  const auto* count = std::get_if<SetVfCount>(&action);
  return count != nullptr && count->pf == pf;
}

std::vector<VmEntry> other_living_vms(const StateRoot& root, const VmFolder& folder) {
  std::vector<VmEntry> others = root.list();
  std::erase_if(others, [&folder](const VmEntry& entry) {
    return entry.name == folder.name() || !entry.living();
  });
  return others;
}

std::optional<JournalContent> journal_of(const StateRoot& root, const VmEntry& vm) {
  return read_journal(root.path() + "/" + vm.name + "/" + kJournalName);
}

bool holds_vf_of(const VmEntry& vm, HostControl& host, const PciAddress& pf) {
  const std::vector<PciAddress>& held = vm.state->claim.pci;
  if (held.empty()) return false;
  const int count = host.vf_count(pf);
  for (int index = 0; index < count; ++index) {
    const std::optional<PciAddress> vf = host.vf_address(pf, index);
    if (vf && std::find(held.begin(), held.end(), *vf) != held.end()) return true;
  }
  return false;
}

// What cannot be known is taken as a yes: nothing is taken from a VM then.
bool uses_vfs_of(const StateRoot& root, const VmEntry& vm, HostControl& host,
                 const PciAddress& pf) {
  if (!vm.state) return true;
  std::optional<JournalContent> journal;
  try {
    journal = journal_of(root, vm);
  } catch (const Error&) {
    return true;
  }
  if (!journal) {
    // Folders are removed without the lock: it may have gone since the list was made.
    const std::optional<VmEntry> now = root.find(vm.name);
    return now && now->living() && (!now->state || holds_vf_of(*now, host, pf));
  }
  bool has_given_up = false;
  for (const JournalEntry& entry : journal->entries) {
    if (!is_count_of(entry.action, pf)) continue;
    if (entry.stage != Stage::kUndone) return true;
    has_given_up = true;
  }
  return !has_given_up && holds_vf_of(vm, host, pf);
}

// A share in VFs that are there, which another VM has.
std::optional<JournalEntry> find_share(const StateRoot& root, const VmFolder& folder,
                                       const PciAddress& pf) {
  for (const VmEntry& other : other_living_vms(root, folder)) {
    try {
      const std::optional<JournalContent> journal = journal_of(root, other);
      if (!journal) continue;
      for (const JournalEntry* entry : journal->open()) {
        if (entry->stage == Stage::kDone && is_count_of(entry->action, pf)) return *entry;
      }
    } catch (const Error&) {
      continue;  // unreadable: its VFs are never taken away from it, nor from others
    }
  }
  return std::nullopt;
}

}  // namespace

void claim_vf_shares(HostControl& host, const Plan& plan, const VmFolder& folder,
                     const StateRoot::Lock&) {
  std::set<PciAddress> pfs;
  for (const PassedDevice& device : plan.passed) {
    if (device.pf) pfs.insert(*device.pf);
  }
  if (pfs.empty()) return;
  const std::optional<StateRoot> root = StateRoot::open_existing(folder.root_path());
  if (!root) return;
  std::optional<HostLease> lease;
  const auto own_lease = [&]() -> HostLease& {
    if (!lease) lease.emplace(host, folder.path_of(kJournalName), this_owner());
    return *lease;
  };
  for (const PciAddress& pf : pfs) {
    if (const std::optional<JournalEntry> share = find_share(*root, folder, pf)) {
      own_lease().adopt(share->action, share->old);
      continue;
    }
    for (const HostStep& step : plan.host_steps) {
      if (is_count_of(step.action, pf)) own_lease().intend(step.action);
    }
  }
}

void make_shared_vfs(HostControl& host, HostLease& lease, const SetVfCount& action,
                     const StateRoot::Lock&) {
  const int count = host.vf_count(action.pf);
  if (count == 0) return lease.apply(action);
  // There were none when this was planned, and there will be none again after the last user.
  const SetVfCount made{action.pf, count};
  lease.adopt(made, OldState{});
  if (made != action) lease.withdraw(action);
}

bool do_others_use_vfs_of(HostControl& host, const PciAddress& pf, const VmFolder& folder,
                          const StateRoot::Lock&) {
  const std::optional<StateRoot> root = StateRoot::open_existing(folder.root_path());
  if (!root) return false;
  const std::vector<VmEntry> others = other_living_vms(*root, folder);
  return std::any_of(others.begin(), others.end(),
                     [&](const VmEntry& vm) { return uses_vfs_of(*root, vm, host, pf); });
}

}  // namespace vmrig
