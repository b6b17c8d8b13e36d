#include "hostcfg/host_lease.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "hostcfg/access_lease.hpp"
#include "hostcfg/base/error.hpp"
#include "hostcfg/cgroup_lease.hpp"
#include "hostcfg/memory_lease.hpp"
#include "hostcfg/net_lease.hpp"
#include "hostcfg/undo.hpp"

namespace vmrig {
namespace {

struct ReadOld {
  HostControl& host;
  std::string mark;

  OldState operator()(const LoadModule& action) const {
    OldState old;
    old.loaded = host.is_module_loaded(action.name);
    return old;
  }
  OldState operator()(const SetVfCount& action) const {
    OldState old;
    old.vf_count = host.vf_count(action.pf);
    return old;
  }
  OldState operator()(const SetVf& action) const {
    OldState old;
    old.vf = settings_of(host.vf_record(action.pf, action.index), action.settings);
    return old;
  }
  OldState operator()(const BindDriver& action) const {
    const auto state = host.driver_state(action.device);
    if (!state) {
      throw Error({.status = ExitStatus::kHost,
                   .operation = "bind to " + action.driver + " the device",
                   .object = action.device.to_string(),
                   .cause = "there is no such PCI device",
                   .mend = "vmrig vfio list"});
    }
    OldState old;
    old.driver = state->driver;
    old.driver_override = state->driver_override;
    return old;
  }
  OldState operator()(const ShareCgroup& action) const { return cgroup(action); }
  OldState operator()(const CreateCgroup& action) const { return cgroup(action); }
  OldState operator()(const LimitDevice& action) const { return cgroup(action); }
  OldState operator()(const ReservePages& action) const {
    return ReadOldMemory{host.memory()}(action);
  }
  OldState operator()(const MountHugetlbfs& action) const {
    return ReadOldMemory{host.memory()}(action);
  }
  OldState operator()(const GrantAccess& action) const { return access(action); }
  OldState operator()(const MakeSocket& action) const { return access(action); }
  template <typename NetAction>
  OldState operator()(const NetAction& action) const {
    OldState old;
    old.net = ReadOldNet{host.net(), mark}(action);
    return old;
  }

 private:
  template <typename CgroupAction>
  OldState cgroup(const CgroupAction& action) const {
    OldState old;
    old.cgroup = ReadOldCgroup{host.cgroups()}(action);
    return old;
  }
  template <typename AccessAction>
  OldState access(const AccessAction& action) const {
    OldState old;
    old.access = ReadOldAccess{host.access()}(action);
    return old;
  }
};

struct DoIt {
  HostControl& host;
  const OldState& old;

  void operator()(const LoadModule& action) const { host.load_module(action.name); }
  void operator()(const SetVfCount& action) const { host.set_vf_count(action.pf, action.count); }
  void operator()(const SetVf& action) const {
    host.set_vf(action.pf, action.index, action.settings);
  }
  void operator()(const BindDriver& action) const {
    host.bind_driver(action.device, action.driver);
  }
  void operator()(const ShareCgroup& action) const { DoCgroup{host.cgroups()}(action); }
  void operator()(const CreateCgroup& action) const { DoCgroup{host.cgroups()}(action); }
  void operator()(const LimitDevice& action) const { DoCgroup{host.cgroups()}(action); }
  void operator()(const ReservePages& action) const { DoMemory{host.memory()}(action); }
  void operator()(const MountHugetlbfs& action) const { DoMemory{host.memory()}(action); }
  void operator()(const GrantAccess& action) const { DoAccess{host.access(), old.access}(action); }
  void operator()(const MakeSocket& action) const { DoAccess{host.access(), old.access}(action); }
  template <typename NetAction>
  void operator()(const NetAction& action) const {
    DoNet{host.net(), old.net}(action);
  }
};

// As the alias of a network device: who made it, and for what. No other action of this boot has it.
std::string next_mark(const JournalContent& journal) {
  const JournalOwner owner = journal.owner.value_or(JournalOwner{});
  return fmt::format("{} {}-{}-{}", kMadeByVmrig, owner.pid, owner.start_time,
                     journal.entries.size() + 1);
}

bool is_open(const JournalEntry& entry) { return entry.stage != JournalEntry::Stage::kUndone; }

}  // namespace

bool UndoReport::complete() const {
  return std::none_of(lines.begin(), lines.end(), [](const UndoLine& line) {
    return line.result == UndoLine::Result::kFailed;
  });
}

HostLease::HostLease(HostControl& host, const std::string& journal_path, const JournalOwner& owner,
                     Journal::Unwritable unwritable)
    : host_(host), journal_(journal_path, owner, unwritable) {}

bool HostLease::holds(const HostAction& action) const {
  const auto& entries = journal_.content().entries;
  return std::any_of(entries.begin(), entries.end(), [&action](const JournalEntry& entry) {
    return entry.stage == JournalEntry::Stage::kDone && entry.action == action;
  });
}

std::optional<int> HostLease::find_intent(const HostAction& action) const {
  for (const JournalEntry& entry : journal_.content().entries) {
    if (entry.stage == JournalEntry::Stage::kIntent && entry.action == action) return entry.id;
  }
  return std::nullopt;
}

void HostLease::apply(const HostAction& action) {
  if (holds(action)) return;
  std::optional<int> id = find_intent(action);
  if (!id) id = journal_.intent(action, read_old(action));
  const auto& entries = journal_.content().entries;
  const auto entry = std::find_if(entries.begin(), entries.end(),
                                  [&id](const JournalEntry& one) { return one.id == *id; });
  std::visit(DoIt{host_, entry->old}, action);
  journal_.done(*id);
}

void HostLease::intend(const HostAction& action) {
  if (holds(action) || find_intent(action)) return;
  journal_.intent(action, read_old(action));
}

void HostLease::intend(const HostAction& action, const OldState& old) {
  if (holds(action) || find_intent(action)) return;
  journal_.intent(action, old);
}

OldState HostLease::read_old(const HostAction& action) {
  return std::visit(ReadOld{host_, next_mark(journal_.content())}, action);
}

void HostLease::withdraw(const HostAction& action) {
  if (const std::optional<int> id = find_intent(action)) journal_.undone(*id);
}

void HostLease::adopt(const HostAction& action, const OldState& old) {
  if (holds(action)) return;
  std::optional<int> id = find_intent(action);
  if (!id) id = journal_.intent(action, old);
  journal_.done(*id);
}

UndoReport HostLease::undo(const UndoRules& rules) {
  UndoReport report;
  report.problems = journal_.content().problems;
  std::vector<JournalEntry> entries;
  for (const JournalEntry& entry : journal_.content().entries) {
    if (is_open(entry) && (!rules.only || rules.only(entry.action))) entries.push_back(entry);
  }
  std::reverse(entries.begin(), entries.end());
  Undo undo(host_, rules, entries);
  undo.release_devices();
  // Records of VFs before drivers, counts and modules after them.
  const auto rank = [](const JournalEntry& entry) {
    if (std::holds_alternative<SetVf>(entry.action)) return 0;
    return std::holds_alternative<BindDriver>(entry.action) ? 1 : 2;
  };
  std::stable_sort(
      entries.begin(), entries.end(),
      [&rank](const JournalEntry& a, const JournalEntry& b) { return rank(a) < rank(b); });
  for (const JournalEntry& entry : entries) report.lines.push_back(undo_one(entry, undo, report));
  return report;
}

UndoLine HostLease::undo_one(const JournalEntry& entry, Undo& undo, UndoReport& report) {
  const auto tell = [&report](const Error& error) {
    // Once: it is the same disk for all of them.
    if (report.problems.empty() || report.problems.back() != error.what()) {
      report.problems.emplace_back(error.what());
    }
  };
  try {
    if (const std::optional<OldState> left = undo.left_by(entry)) {
      journal_.undoing(entry.id, *left);
    }
  } catch (const Error& error) {
    return {entry.action, UndoLine::Result::kFailed, error.what()};
  }
  UndoLine line = undo.undo(entry);
  if (line.result == UndoLine::Result::kFailed) return line;
  try {
    journal_.undone(entry.id);
  } catch (const Error& error) {
    tell(error);
  }
  return line;
}

std::vector<HostAction> HostLease::held() const {
  std::vector<HostAction> actions;
  for (const JournalEntry* entry : journal_.content().open()) actions.push_back(entry->action);
  return actions;
}

UndoReport recover_journal(HostControl& host, const std::string& path, const JournalOwner& owner,
                           const UndoRules& rules) {
  const std::optional<JournalContent> content = read_journal(path);
  if (!content) return {};
  UndoReport report;
  report.problems = content->problems;
  if (content->open_in(owner.boot_id).empty()) return report;
  HostLease lease(host, path, owner, Journal::Unwritable::kGoOn);
  return lease.undo(rules);
}

}  // namespace vmrig
