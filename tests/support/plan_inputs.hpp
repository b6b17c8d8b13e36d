// Configs, recorded facts and recorded abilities for tests of plans.
#pragma once

#include <string>
#include <vector>

#include "hostcfg/facts.hpp"
#include "launcher/plan.hpp"
#include "qmp/caps.hpp"

namespace vmrig::testing {

HostFacts recorded_facts(const std::string& name);        // tests/data/facts/NAME.json
qmp::QemuCaps recorded_caps(const std::string& version);  // tests/data/caps/qemu-VERSION.json
bool has_recorded_caps(const std::string& version);

VmConfig config_of(const std::string& json);

// A plan for QEMU 7.2.
Plan plan_of(const std::string& config_json, const HostFacts& facts,
             std::vector<Lease> leases = {});

// "STATUS path: message | mend", one a line, of the plan's problems.
std::string problems_of(const Plan& plan);

}  // namespace vmrig::testing
