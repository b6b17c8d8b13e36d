// "${NAME}" inside strings, and --set PATH=VALUE: what is laid over a config file.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "hostcfg/base/json_document.hpp"

namespace vmrig {

// Replaces "${NAME}" in every string by the environment's value; "$${" stays as "${". It works on
// parsed strings, so that no value can add structure. Unset names are faults.
void substitute_environment(JsonDocument& document,
                            const std::map<std::string, std::string>& environment,
                            std::vector<Diagnostic>& diagnostics);

// Lays "PATH=VALUE" over the document. PATH is "memory.size", "disks[0].path" or, by id,
// "disks.disk0.path". VALUE is JSON where it parses as that, else a string.
void apply_setting(JsonDocument& document, const std::string& setting,
                   std::vector<Diagnostic>& diagnostics);

}  // namespace vmrig
