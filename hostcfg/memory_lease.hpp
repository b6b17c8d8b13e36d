// What the lease does for actions on memory. Used by host_lease.cpp and undo.cpp only.
#pragma once

#include <optional>

#include "hostcfg/host_lease.hpp"
#include "hostcfg/memory_control.hpp"

namespace vmrig {

struct ReadOldMemory {
  MemoryControl& memory;
  // Throws vmrig::Error when there is no such pool.
  OldState operator()(const ReservePages& action) const;
  OldState operator()(const MountHugetlbfs& action) const;
};

struct DoMemory {
  MemoryControl& memory;
  // Throws vmrig::Error with how many pages came; they are given back then.
  void operator()(const ReservePages& action) const;
  void operator()(const MountHugetlbfs& action) const;
};

// Each throws vmrig::Error when the host refuses.
struct UndoMemory {
  MemoryControl& memory;
  const UndoRules& rules;
  const OldState& old;
  JournalEntry::Stage stage;

  UndoLine operator()(const ReservePages& action) const;
  UndoLine operator()(const MountHugetlbfs& action) const;
  // The pool without these pages; nullopt when there is none.
  std::optional<OldState> left_by(const ReservePages& action) const;
};

}  // namespace vmrig
