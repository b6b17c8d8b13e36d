// VFs that vmrig makes are shared by the VMs that use them: each has its share in its journal, and
// the last to end takes the VFs away. A share is an open SetVfCount record; shares are taken,
// looked at and given up under the state folder's lock alone.
#pragma once

#include "hostcfg/host_control.hpp"
#include "hostcfg/host_lease.hpp"
#include "launcher/plan.hpp"
#include "launcher/state_dir.hpp"

namespace vmrig {

// Takes the shares that the plan needs, for a VM that has just been claimed: in VFs that another
// living VM has made, and in those that are yet to be made. Changes nothing on the host. Throws
// vmrig::Error when the journal can't be written.
void claim_vf_shares(HostControl& host, const Plan& plan, const VmFolder& folder,
                     const StateRoot::Lock& lock);

// Makes the VFs, unless another VM has made some since the plan: then takes a share in those.
// Blocks for the driver. Throws vmrig::Error.
void make_shared_vfs(HostControl& host, HostLease& lease, const SetVfCount& action,
                     const StateRoot::Lock& lock);

// Whether a living VM other than that of `folder` has a share in the PF's VFs, or holds one of
// them without having made or given up any.
bool do_others_use_vfs_of(HostControl& host, const PciAddress& pf, const VmFolder& folder,
                          const StateRoot::Lock& lock);

}  // namespace vmrig
