// Applies host actions one by one, journal first, and undoes them in reverse.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "hostcfg/host_action.hpp"
#include "hostcfg/host_control.hpp"
#include "hostcfg/journal.hpp"

namespace vmrig {

struct UndoLine {
  enum class Result {
    kPutBack,
    kAsBefore,  // it was already as it had been
    kLeft,      // no longer ours, or shared with another VM; `text` says which
    kFailed,    // the host refused; stays open in the journal, so that it can be tried again
  };
  HostAction action;
  Result result = Result::kPutBack;
  std::string text;  // one line for the user: "0000:3b:10.1 is back on ixgbevf"
};

struct UndoReport {
  std::vector<UndoLine> lines;        // in the order of the undoing
  std::vector<std::string> problems;  // of the journal, what can't be read or written of it
  bool complete() const;              // nothing failed
};

struct UndoRules {
  // Whether another VM holds a VF of that PF; its VFs stay then. Empty: nobody does.
  std::function<bool(const PciAddress& pf)> others_use_vfs_of;
  // Whether another VM has a share in what this action made (is_shared); it stays then. Empty:
  // nobody has.
  std::function<bool(const HostAction&)> others_share;
  // Which actions to undo; empty: all.
  std::function<bool(const HostAction&)> only;
};

class Undo;

// What a VM has taken of the host. Not thread-safe: one thread at a time. The destructor undoes
// nothing; what is open stays in the journal.
class HostLease {
 public:
  // Begins the journal at `journal_path`, or goes on with it. `host` has to outlive the lease.
  // Throws vmrig::Error.
  HostLease(HostControl& host, const std::string& journal_path, const JournalOwner& owner,
            Journal::Unwritable unwritable = Journal::Unwritable::kRefuse);

  // Blocks, for seconds when a driver is slow. Throws vmrig::Error when the host refuses; what was
  // done in part then is open in the journal, and undo() puts it back. What was journaled before
  // and not done, by intend() or a failure, keeps the old state that it was journaled with.
  void apply(const HostAction& action);

  // Journals the action with what stands there now, and does nothing: apply() will. Of things that
  // VMs share this is the claim to a share.
  void intend(const HostAction& action);
  // With what stood there before another VM, which shares in it, did it.
  void intend(const HostAction& action, const OldState& old);

  // Journals that what was intended, and not applied, will not be.
  void withdraw(const HostAction& action);

  // Takes a share in what another VM has done and both need (VFs that it made): journaled as done
  // here with `old` from there (read_journal), so that the last of them puts it back. Does nothing
  // when this lease holds the action already. Throws vmrig::Error when the journal can't be
  // written. An intent of the same action becomes done, with its own old state.
  void adopt(const HostAction& action, const OldState& old);

  // Puts back in reverse what is open and still ours, and reports each. A VF is taken from its
  // driver first, gets its old settings, and only then its old driver: the bind resets it. May be
  // called again after a failure. A journal that can't be written keeps nothing from being put back
  // but pages, of which a second undo would give back somebody else's; the report tells of it.
  UndoReport undo(const UndoRules& rules = {});

  // What is applied and not undone.
  std::vector<HostAction> held() const;

 private:
  UndoLine undo_one(const JournalEntry& entry, Undo& undo, UndoReport& report);
  OldState read_old(const HostAction& action);
  bool holds(const HostAction& action) const;
  std::optional<int> find_intent(const HostAction& action) const;  // its id

  HostControl& host_;
  Journal journal_;
};

// Undoes what the dead supervisor of the journal at `path` left. The caller makes sure that the
// supervisor and its QEMU are gone. No journal: an empty report. A journal of another boot
// (`boot_id` is this one's): only what the restart did not undo, an ACL on a disk. Throws
// vmrig::Error when the journal can't be read.
UndoReport recover_journal(HostControl& host, const std::string& path, const JournalOwner& owner,
                           const UndoRules& rules = {});

}  // namespace vmrig
