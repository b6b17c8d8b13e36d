// The parts of the manual pages that the program itself knows: its commands, and a config's keys.
#pragma once

#include <string>
#include <vector>

#include "hostcfg/base/json.hpp"
#include "launcher/cli/command_line.hpp"

namespace vmrig {

// A subsection for each command: what it is for, its words and options.
std::string command_sections(const std::vector<Command>& commands);

// A subsection for each key of the config that is built, with the keys below it; then the names of
// those that are not built yet. `schema` is config_schema().
std::string key_sections(const Json& schema);

}  // namespace vmrig
