// Reads a config's value from JSON by its description, and reports every fault at once.
#pragma once

#include <functional>
#include <vector>

#include "hostcfg/base/error.hpp"
#include "hostcfg/base/json_document.hpp"
#include "hostcfg/base/shape.hpp"

namespace vmrig {

// Reads the document's root through `visit_root`. What the JSON does not name keeps the value
// that it has. Every fault is appended to `diagnostics` with file, line and JSON path.
void read_shape(const JsonDocument& document, const std::function<void(Shape&)>& visit_root,
                std::vector<Diagnostic>& diagnostics);

// The same for a value that stands in no file, as hotplug requests do; `path` is its name in
// messages.
void read_shape(const Json& value, const std::string& path,
                const std::function<void(Shape&)>& visit_value,
                std::vector<Diagnostic>& diagnostics);

}  // namespace vmrig
