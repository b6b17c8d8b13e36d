// The published JSON Schema and the reader hold the same opinion.
#include <doctest/doctest.h>

#include <fmt/format.h>

#include <cstdint>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <string>
#include <utility>
#include <vector>

#include "hostcfg/base/error.hpp"
#include "launcher/config/load_config.hpp"
#include "tests/support/full_config.hpp"

using namespace vmrig;
using testing::full_config;

namespace {

// The same few values stand in thousands of configs, and a regular expression is dear.
bool matches(const std::string& text, const std::string& pattern) {
  static std::map<std::pair<std::string, std::string>, bool> known;
  static std::map<std::string, std::regex> expressions;
  const auto [answer, is_new] = known.try_emplace({text, pattern}, false);
  if (is_new) {
    const auto expression = expressions.try_emplace(pattern, pattern).first;
    answer->second = std::regex_search(text, expression->second);
  }
  return answer->second;
}

// As much of JSON Schema as vmrig's own schema uses; any other keyword fails the test.
bool valid(const Json& schema, const Json& value) {
  for (const auto& [keyword, rule] : schema.items()) {
    if (keyword == "anyOf") {
      bool any = false;
      for (const Json& form : rule) any = any || valid(form, value);
      if (!any) return false;
    } else if (keyword == "enum") {
      bool any = false;
      for (const Json& item : rule) any = any || item == value;
      if (!any) return false;
    } else if (keyword == "type") {
      const std::string type = rule.get<std::string>();
      const bool good =
          (type == "string" && value.is_string()) ||
          (type == "integer" && value.is_number_integer()) ||
          (type == "boolean" && value.is_boolean()) || (type == "array" && value.is_array()) ||
          (type == "object" && value.is_object()) || (type == "null" && value.is_null());
      if (!good) return false;
    } else if (keyword == "minimum") {
      if (value.is_number() && value < rule) return false;
    } else if (keyword == "maximum") {
      if (value.is_number() && value > rule) return false;
    } else if (keyword == "minLength") {
      if (value.is_string() && value.get<std::string>().size() < rule.get<std::size_t>())
        return false;
    } else if (keyword == "maxLength") {
      if (value.is_string() && value.get<std::string>().size() > rule.get<std::size_t>())
        return false;
    } else if (keyword == "maxItems") {
      if (value.is_array() && value.size() > rule.get<std::size_t>()) return false;
    } else if (keyword == "minItems") {
      if (value.is_array() && value.size() < rule.get<std::size_t>()) return false;
    } else if (keyword == "pattern") {
      if (value.is_string() && !matches(value.get<std::string>(), rule.get<std::string>())) {
        return false;
      }
    } else if (keyword == "items") {
      if (value.is_array()) {
        for (const Json& item : value) {
          if (!valid(rule, item)) return false;
        }
      }
    } else if (keyword == "properties") {
      if (!value.is_object()) continue;
      for (const auto& [name, member] : value.items()) {
        if (rule.contains(name) && !valid(rule.at(name), member)) return false;
        if (!rule.contains(name))
          return false;  // additionalProperties is false wherever there are properties
      }
    } else if (keyword == "required") {
      if (!value.is_object()) continue;
      for (const Json& name : rule) {
        if (!value.contains(name.get<std::string>())) return false;
      }
    } else if (keyword == "additionalProperties" && rule.is_object()) {
      if (!value.is_object()) continue;
      for (const auto& [name, member] : value.items()) {
        if (!valid(rule, member)) return false;
      }
    } else if (keyword == "propertyNames") {
      if (!value.is_object()) continue;
      for (const auto& [name, member] : value.items()) {
        if (!valid(rule, name)) return false;
      }
    } else if (keyword != "additionalProperties" && keyword != "default" &&
               keyword != "description" && keyword != "$comment" && keyword != "$schema" &&
               keyword != "title") {
      FAIL("a keyword that this test does not know: " << keyword);
    }
  }
  return true;
}

bool readable(const Json& config) {
  try {
    config_from_json(config);
    return true;
  } catch (const DiagnosticsError&) {
    return false;
  }
}

// Every place in `value`, with a function that puts another value there.
void for_each_place(Json& root, Json& value, const std::string& path,
                    const std::function<void(Json&, const std::string&)>& visit) {
  visit(value, path);
  if (value.is_object()) {
    for (auto& [key, member] : value.items()) for_each_place(root, member, path + "." + key, visit);
  } else if (value.is_array()) {
    for (std::size_t i = 0; i < value.size(); ++i) {
      for_each_place(root, value[i], fmt::format("{}[{}]", path, i), visit);
    }
  }
}

}  // namespace

TEST_CASE("the schema accepts a config with every key, and the reader does") {
  const Json schema = config_schema();
  CHECK(valid(schema, full_config()));
  CHECK(readable(full_config()));
}

TEST_CASE("the test's full config names every key that the schema has") {
  const Json config = full_config();
  std::function<void(const Json&, const Json&, const std::string&)> compare =
      [&](const Json& schema, const Json& value, const std::string& path) {
        if (schema.contains("anyOf")) {
          for (const Json& form : schema.at("anyOf")) {
            if (valid(form, value)) compare(form, value, path);
          }
        }
        if (schema.contains("items") && value.is_array()) {
          // One kind of NIC can't have the keys of another: each key has to stand in one of them.
          Json all = value.at(0);
          for (const Json& item : value) {
            if (item.is_object()) all.update(item, true);
          }
          compare(schema.at("items"), all, path);
        }
        if (!schema.contains("properties")) return;
        for (const auto& [name, member] : schema.at("properties").items()) {
          if (member.contains("enum") && member.at("description") == "Not built yet.") continue;
          CHECK_MESSAGE(value.contains(name), path << "." << name << " is in the schema only");
          if (value.contains(name)) compare(member, value.at(name), path + "." + name);
        }
      };
  compare(config_schema(), config, "");
}

TEST_CASE("schema and reader agree on every mutation of one value") {
  const Json schema = config_schema();
  const std::vector<Json> others = {nullptr,
                                    true,
                                    0,
                                    -1,
                                    70000,
                                    1.5,
                                    "",
                                    "auto",
                                    "none",
                                    "1GiB",
                                    "3MiB",
                                    "/p",
                                    "x y",
                                    "0-1",
                                    Json::array(),
                                    Json::object(),
                                    Json::array({1}),
                                    Json::array({"0"}),
                                    {{"unknown", 1}}};
  int compared = 0;
  int refused = 0;
  Json original = full_config();
  for_each_place(original, original, "", [&](Json& place, const std::string& path) {
    const Json before = place;
    for (const Json& other : others) {
      if (other == before) continue;
      place = other;
      const bool by_schema = valid(schema, original);
      const bool by_reader = readable(original);
      // A schema can't say that two keys conflict, nor that an id exists: what it refuses the
      // reader must refuse; what it accepts the reader may refuse only for such a rule.
      if (!by_schema) {
        ++refused;
        CHECK_MESSAGE(!by_reader,
                      path << " = " << other.dump() << " is refused by the schema only");
      }
      ++compared;
    }
    place = before;
  });
  CHECK(compared > 1000);
  CHECK(refused > 500);
}

TEST_CASE("a single key that the reader refuses by itself is refused by the schema too") {
  const Json schema = config_schema();
  const Json base = {{"name", "a"}, {"memory", {{"size", "64MiB"}}}};
  const std::vector<std::pair<Json::json_pointer, Json>> bad = {
      {Json::json_pointer("/name"), "a b"},
      {Json::json_pointer("/name"), std::string(65, 'a')},
      {Json::json_pointer("/memory/size"), 64},
      {Json::json_pointer("/memory/size"), "64MB"},
      {Json::json_pointer("/cpu/vcpus"), 0},
      {Json::json_pointer("/cpu/vcpus"), 5000},
      {Json::json_pointer("/cpu/pin"), "some"},
      {Json::json_pointer("/cpu/emulator"), "1-"},
      {Json::json_pointer("/machine/type"), "microvm"},
      {Json::json_pointer("/profile"), "fast"},
      {Json::json_pointer("/tpm"), Json::object()},
      {Json::json_pointer("/nope"), 1},
  };
  for (const auto& [place, value] : bad) {
    Json config = base;
    config[place] = value;
    CHECK_MESSAGE(!readable(config), place.to_string() << " = " << value.dump());
    CHECK_MESSAGE(!valid(schema, config), place.to_string() << " = " << value.dump());
  }
}
