#include "tests/support/string_places.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

namespace vmrig::testing {
namespace {

struct Found {
  std::vector<StringPlace> strings;
  std::vector<StringPlace> objects;
};

void add(std::vector<StringPlace>& places, StringPlace place) {
  const auto same = [&place](const StringPlace& other) {
    return other.pointer == place.pointer && other.is_key == place.is_key;
  };
  // Two forms of one value may both take a string.
  if (std::none_of(places.begin(), places.end(), same)) places.push_back(std::move(place));
}

StringPlace member_of(const StringPlace& object, const std::string& name) {
  return {.path = object.path.empty() ? name : object.path + "." + name,
          .pointer = object.pointer + "/" + name,
          .is_key = false};
}

bool takes_text(const Json& schema) {
  if (schema.value("type", Json()) == Json("string")) return true;
  const auto names = schema.find("enum");
  return names != schema.end() && std::any_of(names->begin(), names->end(),
                                              [](const Json& name) { return name.is_string(); });
}

void walk(const Json& schema, const Json& value, const StringPlace& place, Found& found) {
  if (schema.contains("anyOf")) {
    for (const Json& form : schema.at("anyOf")) walk(form, value, place, found);
    return;
  }
  if (takes_text(schema)) add(found.strings, place);
  if (schema.contains("items") && value.is_array()) {
    for (std::size_t i = 0; i < value.size(); ++i) {
      walk(schema.at("items"), value[i],
           {.path = fmt::format("{}[{}]", place.path, i),
            .pointer = fmt::format("{}/{}", place.pointer, i),
            .is_key = false},
           found);
    }
  }
  if (!value.is_object()) return;
  if (schema.contains("properties")) {
    add(found.objects, place);
    for (const auto& [name, member] : schema.at("properties").items()) {
      const bool is_built = member.at("description") != Json("Not built yet.");
      if (value.contains(name)) {
        walk(member, value.at(name), member_of(place, name), found);
      } else if (!is_built) {
        add(found.strings, member_of(place, name));
      }
    }
  } else if (schema.contains("additionalProperties")) {
    for (const auto& [name, member] : value.items()) {
      StringPlace place_of_member = member_of(place, name);
      walk(schema.at("additionalProperties"), member, place_of_member, found);
      place_of_member.is_key = true;
      add(found.strings, std::move(place_of_member));
    }
  }
}

Found find_places(const Json& schema, const Json& config) {
  Found found;
  walk(schema, config, {}, found);
  return found;
}

}  // namespace

std::vector<StringPlace> string_places(const Json& schema, const Json& config) {
  return find_places(schema, config).strings;
}

std::vector<StringPlace> object_places(const Json& schema, const Json& config) {
  return find_places(schema, config).objects;
}

}  // namespace vmrig::testing
