// VMs whose supervisor is gone while their QEMU lives: some are to go on under a new one, others
// end.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "hostcfg/base/json.hpp"
#include "launcher/state_dir.hpp"
#include "qmp/deadline.hpp"

namespace vmrig {

// A QEMU that goes on: its guest has run, and was not to end with its supervisor.
bool is_orphan(const VmEntry& vm);
// One that does not. The kernel has been told to end it with its supervisor, or its guest has never
// run, so that there is nothing to go on with.
bool is_doomed(const VmEntry& vm);

// Waits for the supervisors among `vms` that the kernel is ending: until then they hold their VMs'
// locks and look alive, and it is the entries of a later look that tell what they leave. True when
// all are gone. Without the state folder's lock. Throws vmrig::Error when one can't be watched.
bool await_dying_supervisors(const std::vector<VmEntry>& vms, qmp::Deadline deadline);

// Ends the QEMUs of those among `vms` that are doomed, and waits until they are gone: as long as
// one of its threads lives, a process holds its memory and its devices. True when all are. Without
// the state folder's lock, unless `deadline` has passed already: then it only begins. Throws
// vmrig::Error when it may not.
bool end_doomed(const std::vector<VmEntry>& vms, qmp::Deadline deadline);

struct Adopted {
  // By name: {"name", "supervisor" (pid), "pid" (QEMU's), "state"}.
  std::vector<Json> vms;
  std::vector<std::string> problems;
  bool have_some_ended = false;  // QEMUs, meanwhile: there is something to undo
};

// Gives each a supervisor, in a process of its own, all at once: one that does not answer keeps
// none of the others waiting. Without the state folder's lock, and before any thread exists.
Adopted adopt_orphans(const std::string& state_folder, const std::vector<std::string>& names);

// The same beside this process, which does not wait for it. What goes wrong stands in the VM's log.
void adopt_orphans_unheard(const std::string& state_folder, const std::vector<std::string>& names);

}  // namespace vmrig
