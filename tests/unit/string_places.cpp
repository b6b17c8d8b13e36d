// The tests' walk over a schema finds each place for a string.
#include <doctest/doctest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "launcher/config/load_config.hpp"
#include "tests/support/full_config.hpp"
#include "tests/support/string_places.hpp"

using namespace vmrig;
using namespace vmrig::testing;

namespace {

std::vector<std::string> paths_of(const std::vector<StringPlace>& places) {
  std::vector<std::string> paths;
  for (const StringPlace& place : places)
    paths.push_back(place.path + (place.is_key ? " key" : ""));
  std::sort(paths.begin(), paths.end());
  return paths;
}

Json text() { return {{"type", "string"}}; }

Json object(Json properties) {
  for (auto& [name, member] : properties.items()) member["description"] = "x";
  return {{"type", "object"}, {"properties", std::move(properties)}};
}

}  // namespace

TEST_CASE("places are found in objects, lists, alternatives and maps, and for keys not built") {
  Json schema = object({{"a", text()},
                        {"b", {{"anyOf", {text(), {{"type", "null"}}}}}},
                        {"c", {{"type", "integer"}}},
                        {"choice", {{"enum", {"x", "y"}}}},
                        {"numbers", {{"enum", {1, 2}}}},
                        {"list", {{"type", "array"}, {"items", object({{"id", text()}})}}},
                        {"either", {{"anyOf", {text(), {{"type", "array"}, {"items", text()}}}}}},
                        {"map", {{"type", "object"}, {"additionalProperties", text()}}},
                        {"absent", text()},
                        {"later", {{"enum", {"none", nullptr}}}}});
  schema["properties"]["later"]["description"] = "Not built yet.";
  const Json config = {{"a", "1"},        {"b", nullptr},
                       {"c", 1},          {"choice", "x"},
                       {"numbers", 1},    {"list", {{{"id", "i"}}, {{"id", "j"}}}},
                       {"either", {"e"}}, {"map", {{"k", "v"}}}};
  CHECK(paths_of(string_places(schema, config)) ==
        std::vector<std::string>{"a", "b", "choice", "either", "either[0]", "later", "list[0].id",
                                 "list[1].id", "map.k", "map.k key"});
  CHECK(paths_of(object_places(schema, config)) ==
        std::vector<std::string>{"", "list[0]", "list[1]"});
}

TEST_CASE("each string that stands in the full config is at a place") {
  const Json config = full_config();
  std::vector<std::string> pointers;
  for (const StringPlace& place : string_places(config_schema(), config)) {
    if (!place.is_key) pointers.push_back(place.pointer);
  }
  int strings = 0;
  const Json flat = config.flatten();
  for (const auto& [pointer, value] : flat.items()) {
    if (!value.is_string()) continue;
    ++strings;
    CHECK_MESSAGE(std::find(pointers.begin(), pointers.end(), pointer) != pointers.end(), pointer);
  }
  CHECK(strings > 80);
}
