// Starts a plan's command line on a real QEMU of this machine.
#pragma once

#include <string>

#include "launcher/plan.hpp"

namespace vmrig::testing {

// Starts `qemu` with the plan's arguments, asks it over QMP for its vCPUs, quits and reaps it.
// Returns an empty text when all went well, else what QEMU said.
//
// What this machine can't have is replaced, and nothing else: /images/ by a folder with images of
// the right formats, hugepages by ordinary files, memory by 64 MiB of it that is neither locked,
// bound nor preallocated, KVM by TCG where /dev/kvm does not open.
std::string start_and_quit(const Plan& plan, const std::string& qemu);

}  // namespace vmrig::testing
