// A plan as people and programs read it. Pure: the same plan gives the same text.
#pragma once

#include <cstddef>
#include <string>

#include "hostcfg/base/json.hpp"
#include "launcher/machine_map.hpp"
#include "launcher/plan.hpp"
#include "launcher/text.hpp"

namespace vmrig {

struct PlanView {
  Colour colour = Colour::kOff;
  std::size_t columns = 100;   // of the terminal
  std::size_t host_nodes = 0;  // NUMA nodes of the host; 0: don't tell
  MachineMap machine = {};     // with who sits where; drawn when threads are pinned
};

// One screen for an ordinary VM: placement with its reasons and on a map of the machine, what was
// passed over, host steps with their undo, findings that are not ok, the size of the command. Ends
// with a newline. What config and host chose freely (names, paths) is escaped.
std::string show_plan(const Plan& plan, const PlanView& view);

// Everything: "config" with the defaults filled in, "placement", "accel", "fds", "arguments" each
// with its origin, "preflight", "claim".
Json to_json(const Plan& plan);

}  // namespace vmrig
