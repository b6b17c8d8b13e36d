// A config that has every key of the schema.
#pragma once

#include "hostcfg/base/json.hpp"

namespace vmrig::testing {

// Of what excludes each other (kinds of NICs, say) each stands in a list beside the others. A test
// (unit/config_schema.cpp) holds it against the schema. No host can run it.
Json full_config();

}  // namespace vmrig::testing
