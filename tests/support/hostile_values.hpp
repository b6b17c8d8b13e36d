// Strings that try to be something else than a value.
#pragma once

#include <string>
#include <vector>

namespace vmrig::testing {

// For option lists, shells, format strings, paths, JSON, terminals and readers of UTF-8; and one
// that is large.
const std::vector<std::string>& hostile_values();

}  // namespace vmrig::testing
