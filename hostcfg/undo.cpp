#include "hostcfg/undo.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include "hostcfg/access_lease.hpp"
#include "hostcfg/base/error.hpp"
#include "hostcfg/cgroup_lease.hpp"
#include "hostcfg/memory_lease.hpp"
#include "hostcfg/net_lease.hpp"

namespace vmrig {
namespace {

using Result = UndoLine::Result;

// Whether the state is one that a bind of ours, or its undo, goes through. Of a bind: override
// ours, driver old, none or ours. Of an undo: driver ours or none under our override, then none or
// the old one under the old override.
bool is_ours(const DriverState& now, const std::string& driver, const OldState& old) {
  if (now.driver_override == driver) {
    return now.driver == driver || now.driver.empty() || now.driver == old.driver;
  }
  return now.driver_override == old.driver_override && now.driver.empty();
}

bool is_as_before(const DriverState& now, const OldState& old) {
  return now.driver == old.driver && now.driver_override == old.driver_override;
}

std::string shown_driver(const std::string& driver) {
  return driver.empty() ? "no driver" : driver;
}

std::string shown(const DriverState& state) {
  std::string text = "on " + shown_driver(state.driver);
  if (!state.driver_override.empty()) text += ", reserved for " + state.driver_override;
  return text;
}

VfSettings as_kernel_writes(VfSettings settings) {
  if (!settings.mac) return settings;
  for (char& c : *settings.mac) {
    if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
  }
  return settings;
}

// Splits the old values into those to write, because what stands there is ours, and those that
// somebody else has changed since.
struct VfUndo {
  VfSettings write;
  VfSettings foreign;  // what stands there now
};

VfUndo sort_out(const VfSettings& set, const VfSettings& old, const VfSettings& now,
                bool all_ours) {
  VfUndo undo;
  const auto judge = [&](auto member) {
    if (!(set.*member) || !(old.*member) || now.*member == old.*member) return;
    if (all_ours || now.*member == set.*member) {
      undo.write.*member = old.*member;
    } else {
      undo.foreign.*member = now.*member;
    }
  };
  judge(&VfSettings::mac);
  judge(&VfSettings::vlan);
  judge(&VfSettings::qos);
  judge(&VfSettings::vlan_proto);
  judge(&VfSettings::trust);
  judge(&VfSettings::spoofchk);
  judge(&VfSettings::link_state);
  judge(&VfSettings::min_rate_mbit);
  judge(&VfSettings::max_rate_mbit);
  return undo;
}

}  // namespace

Undo::Undo(HostControl& host, const UndoRules& rules, const std::vector<JournalEntry>& entries)
    : host_(host), rules_(rules), entries_(entries) {}

void Undo::release_devices() {
  for (const JournalEntry& entry : entries_) {
    const auto* bind = std::get_if<BindDriver>(&entry.action);
    if (bind == nullptr) continue;
    try {
      const auto now = host_.driver_state(bind->device);
      // What was on this driver before, by its own match, stays on it.
      if (!now || is_as_before(*now, entry.old) || !is_ours(*now, bind->driver, entry.old)) {
        continue;
      }
      if (entry.old.driver == bind->driver) continue;
      if (now->driver == bind->driver) host_.unbind_driver(bind->device);
      if (now->driver == bind->driver || now->driver.empty()) released_.insert(bind->device);
    } catch (const Error& error) {
      not_released_[bind->device] = error.what();
    }
  }
}

struct Undo::Visit {
  Undo& self;
  const JournalEntry& entry;
  UndoLine operator()(const LoadModule& action) const { return self.undo_module(action); }
  UndoLine operator()(const SetVfCount& action) const { return self.undo_count(action, entry.old); }
  UndoLine operator()(const SetVf& action) const { return self.undo_vf(action, entry.old); }
  UndoLine operator()(const BindDriver& action) const {
    return self.undo_bind(action, entry.old, entry.stage);
  }
  UndoLine operator()(const ShareCgroup& action) const { return cgroup(action); }
  UndoLine operator()(const CreateCgroup& action) const { return cgroup(action); }
  UndoLine operator()(const LimitDevice& action) const { return cgroup(action); }
  UndoLine operator()(const ReservePages& action) const {
    return UndoMemory{self.host_.memory(), self.rules_, entry.old, entry.stage}(action);
  }
  UndoLine operator()(const MountHugetlbfs& action) const {
    return UndoMemory{self.host_.memory(), self.rules_, entry.old, entry.stage}(action);
  }
  UndoLine operator()(const GrantAccess& action) const {
    return UndoAccess{self.host_.access(), self.rules_, entry.old.access}(action);
  }
  UndoLine operator()(const MakeSocket& action) const {
    return UndoAccess{self.host_.access(), self.rules_, entry.old.access}(action);
  }
  template <typename NetAction>
  UndoLine operator()(const NetAction& action) const {
    return UndoNet{self.host_.net(), self.rules_, entry.old.net, entry.stage}(action);
  }

 private:
  template <typename CgroupAction>
  UndoLine cgroup(const CgroupAction& action) const {
    try {
      return UndoCgroup{self.host_.cgroups(), self.rules_, entry.old.cgroup}(action);
    } catch (const std::system_error& fault) {
      return {action, Result::kFailed,
              fmt::format("{}: {}", describe(action), fault.code().message())};
    }
  }
};

std::optional<OldState> Undo::left_by(const JournalEntry& entry) {
  const auto* reserve = std::get_if<ReservePages>(&entry.action);
  if (reserve == nullptr || entry.stage != JournalEntry::Stage::kDone) return std::nullopt;
  return UndoMemory{host_.memory(), rules_, entry.old, entry.stage}.left_by(*reserve);
}

UndoLine Undo::undo(const JournalEntry& entry) {
  try {
    UndoLine line = std::visit(Visit{*this, entry}, entry.action);
    line.action = entry.action;
    return line;
  } catch (const Error& error) {
    return {entry.action, Result::kFailed, error.what()};
  }
}

UndoLine Undo::undo_module(const LoadModule& action) const {
  return {action, Result::kAsBefore, fmt::format("module {} stays loaded", action.name)};
}

UndoLine Undo::undo_count(const SetVfCount& action, const OldState& old) {
  const std::string pf = action.pf.to_string();
  if (!host_.driver_state(action.pf)) return {action, Result::kAsBefore, pf + " is gone"};
  const int now = host_.vf_count(action.pf);
  if (now == old.vf_count) {
    return {action, Result::kAsBefore, fmt::format("{} has {} VFs, as before", pf, now)};
  }
  // Zero, when we were to make more than there were, is where a crash in between leaves it.
  if (now != action.count && now != 0) {
    return {
        action, Result::kLeft,
        fmt::format("{} has {} VFs, and vmrig had made {}: left as it is", pf, now, action.count)};
  }
  if (rules_.others_use_vfs_of && rules_.others_use_vfs_of(action.pf)) {
    return {action, Result::kLeft,
            fmt::format("{} keeps its {} VFs: another VM uses one", pf, now)};
  }
  const std::vector<std::string> holders = host_.vf_holders(action.pf);
  if (!holders.empty()) {
    return {action, Result::kLeft,
            fmt::format("{} keeps its {} VFs: {}", pf, now, fmt::join(holders, "; "))};
  }
  host_.set_vf_count(action.pf, old.vf_count);
  return {action, Result::kPutBack, fmt::format("{} has {} VFs again", pf, old.vf_count)};
}

UndoLine Undo::undo_vf(const SetVf& action, const OldState& old) {
  const std::string vf = fmt::format("{} VF {}", action.pf.to_string(), action.index);
  const auto address = host_.vf_address(action.pf, action.index);
  if (!address) return {action, Result::kAsBefore, vf + " is gone, and its settings with it"};
  if (const auto fault = not_released_.find(*address); fault != not_released_.end()) {
    return {action, Result::kFailed, vf + ": " + fault->second};
  }
  const VfSettings now = settings_of(host_.vf_record(action.pf, action.index), action.settings);
  // While the VF was ours, a guest that is trusted may have changed what the PF records of it.
  const bool all_ours = released_.count(*address) != 0;
  const VfUndo undo = sort_out(as_kernel_writes(action.settings), old.vf, now, all_ours);
  if (!undo.write.empty()) host_.set_vf(action.pf, action.index, undo.write);
  if (!undo.foreign.empty()) {
    return {action, Result::kLeft,
            fmt::format("{}: {} was set by somebody else, left as it is", vf,
                        describe_settings(undo.foreign))};
  }
  if (undo.write.empty()) return {action, Result::kAsBefore, vf + " is as before"};
  return {action, Result::kPutBack, fmt::format("{}: {}", vf, describe_settings(undo.write))};
}

UndoLine Undo::undo_bind(const BindDriver& action, const OldState& old, JournalEntry::Stage stage) {
  const std::string device = action.device.to_string();
  if (const auto fault = not_released_.find(action.device); fault != not_released_.end()) {
    return {action, Result::kFailed, fault->second};
  }
  const auto now = host_.driver_state(action.device);
  if (!now) return {action, Result::kAsBefore, device + " is gone"};
  if (is_as_before(*now, old)) {
    return {action, Result::kAsBefore, fmt::format("{} is {}", device, shown(*now))};
  }
  const bool ours = is_ours(*now, action.driver, old);
  if (!ours) {
    return {action, Result::kLeft,
            fmt::format("{} is {}, which vmrig did not do{}: left as it is", device, shown(*now),
                        stage == JournalEntry::Stage::kIntent ? " to the end" : "")};
  }
  host_.restore_driver(action.device, {old.driver, old.driver_override});
  return {action, Result::kPutBack,
          fmt::format("{} is back on {}", device, shown_driver(old.driver))};
}

}  // namespace vmrig
