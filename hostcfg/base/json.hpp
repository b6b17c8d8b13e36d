// The project's JSON type: keys sorted, so that equal values print as equal texts.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace vmrig {
using Json = nlohmann::json;
}  // namespace vmrig
