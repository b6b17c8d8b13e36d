#pragma once

#include <nlohmann/json.hpp>

namespace qmp {

/// The JSON value of this library. Object members are kept sorted by name; QMP gives their
/// order no meaning. Build with JSON_USE_IMPLICIT_CONVERSIONS=0.
using Json = nlohmann::json;

}  // namespace qmp
