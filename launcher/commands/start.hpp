// Starting in the background, for `start` and `run --detach`.
#pragma once

#include <optional>
#include <string>

#include "launcher/cli/command_line.hpp"
#include "launcher/commands/prepare.hpp"

namespace vmrig {

struct StartOptions {
  PlanSources sources;
  bool paused = false;
  bool json = false;
  std::optional<std::string> wait;  // text on the console, or "agent"
  std::optional<double> timeout_s;  // of the wait
};

// Returns when the guest runs and is pinned (and what `wait` is for is there). Prints one line.
ExitStatus start_in_background(const StartOptions& options, const Context& context);

}  // namespace vmrig
