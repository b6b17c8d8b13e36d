// What a VM's claim on hugepages still means: pages that it has got are not free any more.
#pragma once

#include "launcher/leases.hpp"
#include "launcher/state_dir.hpp"

namespace vmrig {

// The VM's claim without the pages that its supervisor or its QEMU has mapped, and without the
// reservations that its journal says are done. What can't be read counts as not got.
Lease claim_now(const VmEntry& vm);

}  // namespace vmrig
