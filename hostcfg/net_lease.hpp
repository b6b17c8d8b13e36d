// What the lease does for actions on the network. Used by host_lease.cpp and undo.cpp only.
#pragma once

#include <string>
#include <variant>

#include "hostcfg/host_lease.hpp"
#include "hostcfg/net_control.hpp"

namespace vmrig {

// What stands there before the action. `mark` is one that no other action has; a device that VMs
// share gets the shared one instead. Throws vmrig::Error when the action can't be done on that.
struct ReadOldNet {
  NetControl& net;
  const std::string& mark;

  NetOldState operator()(const CreateBridge& action) const;
  NetOldState operator()(const CreateTap& action) const;
  NetOldState operator()(const JoinBridge& action) const;
  NetOldState operator()(const SetAddress& action) const;
  NetOldState operator()(const CreateVlan& action) const;
  NetOldState operator()(const CreateMacvtap& action) const;
  NetOldState operator()(const SetRate& action) const;
  NetOldState operator()(const AddOvsPort& action) const;
};

struct DoNet {
  NetControl& net;
  const NetOldState& old;

  void operator()(const CreateBridge& action) const { net.create_bridge(action, old.mark); }
  void operator()(const CreateTap& action) const { net.create_tap(action, old.mark); }
  void operator()(const JoinBridge& action) const { net.join_bridge(action); }
  void operator()(const SetAddress& action) const { net.add_address(action); }
  void operator()(const CreateVlan& action) const { net.create_vlan(action, old.mark); }
  void operator()(const CreateMacvtap& action) const { net.create_macvtap(action, old.mark); }
  void operator()(const SetRate& action) const { net.set_rate(action, old.mark); }
  void operator()(const AddOvsPort& action) const { net.add_ovs_port(action, old.mark); }
};

// Each throws vmrig::Error when the host refuses.
struct UndoNet {
  NetControl& net;
  const UndoRules& rules;
  const NetOldState& old;
  JournalEntry::Stage stage;

  UndoLine operator()(const CreateBridge& action) const;
  UndoLine operator()(const CreateTap& action) const;
  UndoLine operator()(const JoinBridge& action) const;
  UndoLine operator()(const SetAddress& action) const;
  UndoLine operator()(const CreateVlan& action) const;
  UndoLine operator()(const CreateMacvtap& action) const;
  UndoLine operator()(const SetRate& action) const;
  UndoLine operator()(const AddOvsPort& action) const;

 private:
  UndoLine remove(const HostAction& action, const std::string& name, bool is_ours) const;
  UndoLine remove_shared(const HostAction& action, const std::string& name, bool is_ours) const;
  bool is_intent() const { return stage == JournalEntry::Stage::kIntent; }
};

}  // namespace vmrig
