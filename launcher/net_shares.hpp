// Bridges, VLAN devices, mounts, access to nodes and the cgroup that vmrig makes are shared by the
// VMs that ask for them: each has its record in its journal, and the last to end takes them away.
// As with VFs (vf_shares.hpp), records are made, looked at and given up under the state folder's
// lock alone.
#pragma once

#include "hostcfg/host_control.hpp"
#include "hostcfg/host_lease.hpp"
#include "launcher/plan.hpp"
#include "launcher/state_dir.hpp"

namespace vmrig {

// Journals the shares that the plan needs, for a VM that has just been claimed. Changes nothing on
// the host. Throws vmrig::Error.
void claim_net_shares(HostControl& host, const Plan& plan, const VmFolder& folder,
                      const StateRoot::Lock& lock);

// Whether a living VM other than that of `folder` has a share in what `action` makes. What cannot
// be known is taken as a yes.
bool do_others_share(const HostAction& action, const VmFolder& folder, const StateRoot::Lock& lock);

}  // namespace vmrig
