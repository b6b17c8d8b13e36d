// What holds of every plan, whatever config and facts it was made of.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "hostcfg/facts.hpp"
#include "launcher/plan.hpp"
#include "qmp/caps.hpp"

namespace vmrig::fuzz {

std::string recorded_file(const std::string& name);  // below tests/data

// Read once; in an order that does not change, because inputs choose by number.
const std::vector<HostFacts>& recorded_hosts();
const std::vector<qmp::QemuCaps>& recorded_qemus();

// Plans, renders, and ends the run where an argument is not what it was meant to be, where a host
// step would not survive the journal, or where what is shown could drive a terminal.
void check_plan(const VmConfig& config, const HostFacts& facts, const qmp::QemuCaps& caps);

// The same of each device of the config as one that is attached to the VM without it.
void check_attaching(const VmConfig& config, const HostFacts& facts, const qmp::QemuCaps& caps);

}  // namespace vmrig::fuzz
