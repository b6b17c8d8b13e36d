// What the lease does for actions on cgroups. Used by host_lease.cpp and undo.cpp only.
#pragma once

#include "hostcfg/cgroup_action.hpp"
#include "hostcfg/cgroup_control.hpp"
#include "hostcfg/host_lease.hpp"

namespace vmrig {

// What stands there before the action. Throws vmrig::Error when it can't be done on that.
struct ReadOldCgroup {
  CgroupControl& cgroups;

  CgroupOldState operator()(const ShareCgroup& action) const;
  CgroupOldState operator()(const CreateCgroup& action) const;
  CgroupOldState operator()(const LimitDevice& action) const;
};

// Each reads back what it has written, and throws vmrig::Error when the kernel refuses.
struct DoCgroup {
  CgroupControl& cgroups;

  void operator()(const ShareCgroup& action) const;
  void operator()(const CreateCgroup& action) const;
  void operator()(const LimitDevice& action) const;
};

struct UndoCgroup {
  CgroupControl& cgroups;
  const UndoRules& rules;
  const CgroupOldState& old;

  UndoLine operator()(const ShareCgroup& action) const;
  UndoLine operator()(const CreateCgroup& action) const;
  UndoLine operator()(const LimitDevice& action) const;
};

}  // namespace vmrig
