// Undoing journaled actions, each only as far as it is still ours. Used by host_lease.cpp only.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "hostcfg/host_lease.hpp"

namespace vmrig {

class Undo {
 public:
  // `entries` are all that will be undone, the last first; they have to outlive this only until
  // release_devices() has returned.
  Undo(HostControl& host, const UndoRules& rules, const std::vector<JournalEntry>& entries);

  // Takes what is still ours from the driver that we gave it. Between that and the old driver a VF
  // gets its old record, so that the old driver finds it.
  void release_devices();

  // What the undo of this entry will leave, where to do it twice would be wrong: to be journaled
  // before.
  std::optional<OldState> left_by(const JournalEntry& entry);

  // Never throws for what the host refuses: the line says it.
  UndoLine undo(const JournalEntry& entry);

 private:
  struct Visit;
  UndoLine undo_module(const LoadModule& action) const;
  UndoLine undo_count(const SetVfCount& action, const OldState& old);
  UndoLine undo_vf(const SetVf& action, const OldState& old);
  UndoLine undo_bind(const BindDriver& action, const OldState& old, JournalEntry::Stage stage);

  HostControl& host_;
  const UndoRules& rules_;
  const std::vector<JournalEntry>& entries_;
  std::set<PciAddress> released_;                   // ours, and on no driver now
  std::map<PciAddress, std::string> not_released_;  // why
};

}  // namespace vmrig
