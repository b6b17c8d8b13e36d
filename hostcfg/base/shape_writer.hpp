// Writes a config's value, or the JSON Schema of all values that it may have.
#pragma once

#include <functional>

#include "hostcfg/base/json.hpp"
#include "hostcfg/base/shape.hpp"

namespace vmrig {

// The value as JSON, with every default filled in.
Json write_shape(const std::function<void(Shape&)>& visit_root);

// The JSON Schema (draft 2020-12) of the value. `visit_root` is given a value of its own with
// the defaults in it: the schema names them.
Json write_schema(const std::function<void(Shape&)>& visit_root);

}  // namespace vmrig
