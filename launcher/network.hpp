// What a VM's NICs get on the host: their devices there, and the steps that make them.
#pragma once

#include <string>
#include <vector>

#include "devices/nic_description.hpp"
#include "launcher/plan.hpp"

namespace vmrig {

struct NetworkPlan {
  std::vector<NicHostEnd> ends;  // one a NIC of the config, in its order
  std::vector<HostStep> steps;   // in order
  std::vector<Helper> helpers;   // by NIC
};

// Pure and deterministic. Of `input.leases` those of other VMs only. Faults are appended to
// `findings`, each at the key that is to be changed. What recorded facts do not tell is not
// checked.
NetworkPlan plan_network(const PlanInput& input, std::vector<Diagnostic>& findings);

// What this QEMU takes for NICs.
NicForms nic_forms(const qmp::QemuCaps& caps);

}  // namespace vmrig
