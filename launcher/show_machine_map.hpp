// The map of a machine as text. Pure: the same map gives the same text.
#pragma once

#include <cstddef>
#include <string>

#include "launcher/machine_map.hpp"
#include "launcher/text.hpp"

namespace vmrig {

struct MapView {
  Colour colour = Colour::kOff;
  std::size_t columns = 100;  // of the terminal
  // The VM whose plan it is: its seats stand without a letter, and caches where it has none are
  // told in one line. Empty: all VMs are alike, and every cache is drawn.
  std::string vm;
};

// A core is a column, its threads stand below each other: "1 v0" is CPU 1 with vCPU 0. The first
// line tells what the marks mean. Every line ends with a newline.
std::string show_machine_map(const MachineMap& map, const MapView& view);

}  // namespace vmrig
