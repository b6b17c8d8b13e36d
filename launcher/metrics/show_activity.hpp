// VMs' activity as a table for people.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "launcher/metrics/vm_activity.hpp"
#include "launcher/text.hpp"

namespace vmrig {

struct ActivityView {
  Colour colour = Colour::kOff;
  std::size_t columns = 0;  // lines are cut there; 0: never
  std::size_t rows = 0;  // at most so many lines, the last of which says what is left out; 0: all
};

// A line of headings, and for each VM a line and one for each of its threads; without newlines.
std::vector<std::string> show_activity(const std::vector<VmActivity>& vms,
                                       const ActivityView& view);

}  // namespace vmrig
