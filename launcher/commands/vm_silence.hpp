// Which VMs don't answer.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/state_dir.hpp"

namespace vmrig {

enum class Silent { kNobody, kSupervisor, kQemu };

std::string_view name_of(Silent who);  // "", "supervisor", "QEMU"

// Asks the supervisors of those that should answer, all at once, and by them their QEMUs. Takes as
// long as the slowest, a second at most.
std::map<std::string, Silent> find_silent(const StateRoot& root, const std::vector<VmEntry>& vms);

}  // namespace vmrig
