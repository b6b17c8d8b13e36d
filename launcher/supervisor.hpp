// Starts a VM and stays with it until it ends.
#pragma once

#include <functional>
#include <string>

#include "hostcfg/base/error.hpp"
#include "launcher/adoption.hpp"
#include "launcher/host_side.hpp"
#include "launcher/initial_state.hpp"
#include "launcher/notify_socket.hpp"
#include "launcher/session.hpp"
#include "launcher/vm_outcome.hpp"
#include "launcher/vm_state.hpp"
#include "qmp/deadline.hpp"

namespace vmrig {

struct SuperviseOptions {
  RunMode mode = RunMode::kForeground;
  // kStayPaused: the guest is ready and pinned, and waits for `resume`.
  LaunchOptions::First first = LaunchOptions::First::kContinue;
  // Called once, when the guest runs, is pinned, its sockets serve and what is waited for is there;
  // `state` is what state.json says.
  std::function<void(const VmState& state)> on_running;
  // Told of memory that is being populated before QEMU starts, a few times a second; at the end, or
  // when it is cut off, with nothing wanted. May be empty.
  HostSide::TellPages on_populating;
  // Called when the VM is asked to end, by a signal or a command; may be empty.
  std::function<void()> on_stopping;
  // Told each time that QEMU has ended and will be started anew; `state` says why and when. May be
  // empty.
  std::function<void(const VmState& state)> on_restart;
  std::string wait_for_text;    // on the console; empty: don't wait
  bool wait_for_agent = false;  // until the guest's answers
  qmp::Deadline wait_deadline = qmp::kNoDeadline;
  ServiceSettings service;  // who else is told
};

// Launches, serves qmp.sock and console.sock, and returns when the VM has ended and its folder is
// gone (kept after a bad end when detached). A QEMU that ends is started anew as "power" has it;
// the outcome is the last one's. Takes SIGTERM, SIGINT (first: powerdown ladder; second: now) and
// SIGHUP for the time of the call; as PID 1 reaps orphans. Throws vmrig::Error when the VM does not
// come to run, kTimeUp when what is waited for was not there in time (the VM is ended then);
// nothing is left over. Facts, capabilities and the like of the caller's stay in memory for the
// VM's life unless they are freed before.
VmOutcome supervise(LaunchRequest request, SuperviseOptions options);

// The same for a VM whose supervisor was killed and whose QEMU lives: serves its sockets again, and
// returns when it has ended. Its claims last throughout. Throws vmrig::Error when QEMU does not
// answer; the VM goes on without a supervisor then.
VmOutcome supervise(Adoption adoption, SuperviseOptions options);

}  // namespace vmrig
