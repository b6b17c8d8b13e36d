// What a VM may change of the host, as text, so that before and after can be compared.
#pragma once

#include <string>
#include <vector>

namespace vmrig::testing {

// Links, addresses and qdiscs of this network namespace, hugepage pools, mounts, cgroups, and of
// `files` and the device nodes that VMs use owner, mode and ACL. Counters and timers are left out.
std::string host_snapshot(const std::vector<std::string>& files = {});

}  // namespace vmrig::testing
