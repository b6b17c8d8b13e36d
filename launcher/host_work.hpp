// The host side of a VM: what is done to the host before its QEMU starts, and undone after its end.
#pragma once

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "hostcfg/host_control.hpp"
#include "hostcfg/host_lease.hpp"
#include "launcher/plan.hpp"
#include "launcher/state_dir.hpp"

namespace vmrig {

// This process, as the owner of a journal.
JournalOwner this_owner();

// Applies the plan's host steps one by one; each stands in the folder's journal before it is done.
// The VM's shares in VFs have been claimed (claim_vf_shares); the lock is not held.
// Blocks, for seconds when a driver is slow. Stops before the next step once `is_cancelled`. Throws
// vmrig::Error; what was done then is in the journal, for undo_host_steps.
void apply_host_steps(HostControl& host, const Plan& plan, const VmFolder& folder,
                      const std::atomic<bool>& is_cancelled);

// Puts back what the folder's journal holds and is still ours; nothing without a journal. The
// VM's QEMU has to be gone, and its supervisor, too, unless that is the caller. VFs that other
// living VMs use stay: for these it waits for the state folder's lock. Throws vmrig::Error when the
// journal can't be read or written.
UndoReport undo_host_steps(HostControl& host, const VmFolder& folder);

// The same for one who holds the lock.
UndoReport undo_host_steps(HostControl& host, const VmFolder& folder, const StateRoot::Lock& lock);

// Puts back only these of its actions, whose device the VM has given up.
UndoReport undo_host_steps(HostControl& host, const VmFolder& folder,
                           const std::function<bool(const HostAction&)>& only);

// Whether there is something to undo, or to read about it.
bool has_journal(const VmFolder& folder);

// One line a thing that was put back, left or failed; nothing for what was as before.
std::vector<std::string> report_lines(const UndoReport& report);

// What could not be put back, as the reason of a fault; empty when all was.
std::string unfinished(const UndoReport& report);

// Runs `work` on a thread of its own while the event loop goes on; the thread ends soon after. What
// `work` throws is thrown here. Signals go to other threads.
boost::asio::awaitable<void> run_aside(std::function<void()> work);

struct RecoveredVm {
  std::string name;
  UndoReport report;
  std::vector<std::string> problems;  // the journal can't be read, say
  bool removed = false;               // the folder
};

// Undoes what VMs left whose supervisor and QEMU are dead, and removes their folders; that of one
// that can't be undone stays, to be tried again. `only`: what this one left; nullopt: all.
std::vector<RecoveredVm> recover_dead_vms(StateRoot& root, const StateRoot::Lock& lock,
                                          HostControl& host,
                                          const std::optional<std::string>& only = {});

}  // namespace vmrig
