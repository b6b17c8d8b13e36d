// Keys and values for --set, from the config's schema.
#pragma once

#include <string_view>
#include <vector>

#include "hostcfg/base/json.hpp"
#include "launcher/cli/completion.hpp"

namespace vmrig {

// What can follow in a PATH=VALUE of which `begun` is typed: one step of the path at a time ("cpu."
// or "cpu.vcpus="), then the values that a choice or a flag has. In a list the step of its id or
// index is the user's.
std::vector<Candidate> config_keys(const Json& schema, std::string_view begun);

}  // namespace vmrig
