// Where a config may hold a string, by its schema: a key that is added later is among them.
#pragma once

#include <string>
#include <vector>

#include "hostcfg/base/json.hpp"

namespace vmrig::testing {

struct StringPlace {
  std::string path;     // as in messages: "nics[2].ifname"
  std::string pointer;  // RFC 6901: "/nics/2/ifname"
  // The name of a member, which the place stands for; else its value.
  bool is_key = false;
};

// All of `config` where `schema` (config_schema()) takes a string, whatever stands there now, and
// the keys that are not built yet. What `config` does not have is left out, the lists' elements
// too.
std::vector<StringPlace> string_places(const Json& schema, const Json& config);

// All objects of `config` that have keys of the schema's.
std::vector<StringPlace> object_places(const Json& schema, const Json& config);

}  // namespace vmrig::testing
