// From JSON text to a VmConfig, or to all of its faults at once.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "launcher/config/vm_config.hpp"

namespace vmrig {

// Everything that a config depends on, so that loading it has no effects.
struct ConfigSource {
  std::string text;                                // JSON with comments
  std::string file;                                // the name for messages
  std::string folder;                              // absolute; what relative paths are relative to
  std::map<std::string, std::string> environment;  // for "${NAME}"
  std::vector<std::string> settings;               // "PATH=VALUE", laid over the file in order
};

// Throws DiagnosticsError with every fault, each with file, line and JSON path.
VmConfig load_config(const ConfigSource& source);

// The config as JSON, every default filled in.
Json to_json(const VmConfig& config);

// What to_json gave. Throws DiagnosticsError.
VmConfig config_from_json(const Json& json);

// The JSON Schema of configs (draft 2020-12).
Json config_schema();

}  // namespace vmrig
