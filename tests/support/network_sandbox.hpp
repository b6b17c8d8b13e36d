// A network namespace of a test's own.
#pragma once

#include <functional>
#include <optional>
#include <string>

namespace vmrig::testing {

// Why there can't be one here; nullopt when there can.
std::optional<std::string> no_network_sandbox();

// Runs `work` on a thread of its own in a new network namespace (lo up, nothing else), with a /sys
// that shows it; programs that `work` starts are there, too. What `work` throws is thrown here. All
// that it makes goes with the namespace.
void in_network_sandbox(const std::function<void()>& work);

// Runs a program, which has to succeed; its output.
std::string run_ok(const std::string& command_line);

// Links, addresses, bridges' VLANs and qdiscs of this namespace as text, without counters, timers
// and indices, so that two can be compared.
std::string network_snapshot();

}  // namespace vmrig::testing
