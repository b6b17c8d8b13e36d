// Starts the processes that serve a VM's devices beside QEMU.
#pragma once

#include "hostcfg/base/fd.hpp"
#include "launcher/plan.hpp"
#include "launcher/state_dir.hpp"

namespace vmrig {

// Starts a passt for the helper's NIC, and returns QEMU's end of the connection once passt is ready
// and in the background; it ends when QEMU's end is closed. Its words go to QEMU's log in `folder`.
// Blocks, mostly for some ten milliseconds. Throws vmrig::Error with passt's own words.
// Source: passt(1), --fd.
Fd start_passt(const Helper& helper, const VmFolder& folder);

}  // namespace vmrig
