// What the lease does for actions on access to files. Used by host_lease.cpp and undo.cpp only.
#pragma once

#include "hostcfg/access_control.hpp"
#include "hostcfg/host_lease.hpp"

namespace vmrig {

// What stands there before the action. Throws vmrig::Error when it can't be done on that.
struct ReadOldAccess {
  AccessControl& access;
  AccessOldState operator()(const GrantAccess& action) const;
  AccessOldState operator()(const MakeSocket& action) const;
};

struct DoAccess {
  AccessControl& access;
  const AccessOldState& old;
  void operator()(const GrantAccess& action) const;
  void operator()(const MakeSocket& action) const;
};

// Each throws vmrig::Error when the host refuses.
struct UndoAccess {
  AccessControl& access;
  const UndoRules& rules;
  const AccessOldState& old;

  UndoLine operator()(const GrantAccess& action) const;
  UndoLine operator()(const MakeSocket& action) const;
};

}  // namespace vmrig
