// Waits until the guest's agent answers.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>

#include "launcher/config/vm_config.hpp"
#include "launcher/exit_watch.hpp"
#include "launcher/state_dir.hpp"
#include "qmp/deadline.hpp"

namespace vmrig {

// The name of the agent's socket in the VM's folder; empty when the VM has no channel to it.
std::string agent_socket(const VmConfig& config);

// Connects to the agent's channel `socket` in the folder, and asks until the agent has answered;
// the connection is closed then, for whoever wants to talk to it. False at the deadline, or when
// QEMU
// (`exit`) has ended. Whatever the guest sends costs no more than a small message's memory. Source:
// qemu docs/interop/qemu-ga.rst, guest-sync-delimited.
boost::asio::awaitable<bool> wait_for_agent(const VmFolder& folder, const std::string& socket,
                                            ExitWatch& exit, qmp::Deadline deadline);

}  // namespace vmrig
