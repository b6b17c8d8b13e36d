// One description of keys, read, written and published: the machinery by itself.
#include <doctest/doctest.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "hostcfg/base/error.hpp"
#include "hostcfg/base/shape_reader.hpp"
#include "hostcfg/base/shape_writer.hpp"

using namespace vmrig;

namespace shape_test {

enum class Mode { kSlow, kFast };
std::vector<std::string_view> enum_names(Mode) { return {"slow", "fast"}; }

struct Part {
  std::string id;
  std::optional<int> number;
};

struct Sample {
  std::string text = "t";
  bool flag = true;
  int count = 3;
  Bytes size = Bytes::gib(1);
  Mode mode = Mode::kSlow;
  std::vector<Part> parts;
  Json properties = Json::object();
  // A text or a number.
  std::string word;
  int number = -1;
};

void describe(Fields& fields, Part& part) {
  fields.required("id", "Its name.", part.id);
  fields.optional("number", "A number.", part.number, IntRule{0, 9});
}

void describe(Fields& fields, Sample& sample) {
  const TextRule lower{.min_length = 2,
                       .max_length = 8,
                       .pattern = "^[a-z]+$",
                       .meaning = "lower case",
                       .check = [](const std::string& text) -> std::string {
                         return text.find_first_not_of("abcdefghijklmnopqrstuvwxyz") ==
                                        std::string::npos
                                    ? ""
                                    : "is no lower case";
                       }};
  fields.required("text", "A text.", sample.text, lower);
  fields.optional("flag", "A flag.", sample.flag);
  fields.optional("count", "A number.", sample.count, IntRule{1, 10});
  fields.optional("size", "A size.", sample.size,
                  SizeRule{Bytes::mib(1), Bytes::gib(2), Bytes::mib(1)});
  fields.optional("mode", "One of two.", sample.mode);
  fields.optional("parts", "Parts.", sample.parts, ListRule{0, 2});
  fields.member("properties", "Anything.", Fields::Need::kOptional, !sample.properties.empty(),
                [&](Shape& shape) { shape.scalars(sample.properties, lower); });
  fields.member("either", "A text or a number.", Fields::Need::kOptional, true, [&](Shape& shape) {
    int which = sample.number >= 0 ? 1 : 0;
    shape.any_of(which, {{Alternative::Type::kText,
                          [&](Shape& inner) {
                            inner.text(sample.word, {});
                            sample.number = -1;
                          }},
                         {Alternative::Type::kInteger, [&](Shape& inner) {
                            std::int64_t wide = sample.number;
                            inner.integer(wide, {0, 7});
                            sample.number = static_cast<int>(wide);
                          }}});
  });
  fields.not_built("later", "none");
  fields.rule([&](const Fields::Fault& fault) {
    if (sample.count == 7) fault("count", "is unlucky", "8");
    if (sample.count == 9) fault({}, "is wrong as a whole", {});
  });
}

}  // namespace shape_test

namespace {

using shape_test::Sample;

// "path: message | mend", one a line.
std::string faults_of(const Json& json, Sample& sample) {
  std::vector<Diagnostic> diagnostics;
  read_shape(
      json, "", [&](Shape& shape) { visit(shape, sample); }, diagnostics);
  std::string text;
  for (const Diagnostic& fault : diagnostics) {
    text +=
        fault.path + ": " + fault.message + (fault.mend.empty() ? "" : " | " + fault.mend) + "\n";
  }
  return text;
}

std::string faults_of(const Json& json) {
  Sample sample;
  return faults_of(json, sample);
}

std::string faults_with(const std::string& key, const Json& value) {
  Json json = {{"text", "abc"}};
  json[key] = value;
  return faults_of(json);
}

Json written(Sample sample) {
  return write_shape([&](Shape& shape) { visit(shape, sample); });
}

}  // namespace

TEST_CASE("a described value is read from JSON, and written out as it was") {
  const Json json = {{"text", "abc"},
                     {"flag", false},
                     {"count", 10},
                     {"size", "2GiB"},
                     {"mode", "fast"},
                     {"parts", {{{"id", "a"}, {"number", 4}}, {{"id", "b"}}}},
                     {"properties", {{"aa", "x"}, {"bb", 5}, {"cc", true}}},
                     {"either", 6}};
  Sample sample;
  CHECK(faults_of(json, sample).empty());
  CHECK(sample.text == "abc");
  CHECK_FALSE(sample.flag);
  CHECK(sample.size == Bytes::gib(2));
  CHECK(sample.parts.at(0).number == 4);
  CHECK_FALSE(sample.parts.at(1).number);
  CHECK(sample.number == 6);
  CHECK(written(sample) == json);
}

TEST_CASE("what is not named keeps its default, null and a neutral value too") {
  Sample sample;
  CHECK(faults_of({{"text", "abc"}, {"count", nullptr}, {"later", "none"}}, sample).empty());
  CHECK(sample.count == 3);
  CHECK(sample.flag);
  CHECK(written(sample).at("size") == "1GiB");
  CHECK_FALSE(written(sample).contains("properties"));
  CHECK_FALSE(written(sample).contains("later"));
}

TEST_CASE("each fault is told with its path, all at once, and a refused value is not taken") {
  Sample sample;
  const std::string text = faults_of({{"text", "ABC"},
                                      {"count", 11},
                                      {"size", 5},
                                      {"mode", "fats"},
                                      {"parts", {{{"number", 10}}}},
                                      {"either", 1.5}},
                                     sample);
  CHECK(text ==
        "text: \"ABC\" is no lower case\n"
        "count: 11 is out of range; 1 to 10 is possible\n"
        "size: 5 is ambiguous; write a string with a unit, such as \"5MiB\" or \"5GiB\"\n"
        "mode: \"fats\" is not \"slow\" or \"fast\", did you mean \"fast\"?\n"
        "parts[0].id: is missing, and has no default\n"
        "parts[0].number: 10 is out of range; 0 to 9 is possible\n"
        "either: 1.5 is a number with a fraction, a whole number from 0 to 7 is needed\n");
  CHECK(sample.text == "t");
  CHECK(sample.count == 3);
  CHECK(sample.size == Bytes::gib(1));
}

TEST_CASE("texts have bounds, no NUL and no bytes that are no UTF-8") {
  CHECK(faults_with("text", "a") == "text: is empty\n");
  CHECK(faults_with("text", std::string(9, 'a')) == "text: is 9 bytes long, 8 is the most\n");
  CHECK(faults_with("text", std::string("a\0b", 3)).starts_with("text: holds a NUL byte"));
  CHECK(faults_with("text", "a\xff").starts_with("text: \"a\\xff\" is no UTF-8"));
  CHECK(faults_with("text", 5) == "text: 5 is a number, a string is needed\n");
  CHECK(faults_with("text", nullptr) == "text: is null, a string is needed\n");
  CHECK(faults_with("text", "\x1b[2J") == "text: \"\\x1b[2J\" is no lower case\n");
  // However long it is, what is shown of it is short.
  CHECK(faults_with("mode", std::string(100'000, 'x')).size() < 200);
}

TEST_CASE("keys that nobody knows are refused, with the nearest one, and do not reach a terminal") {
  CHECK(faults_with("cuont", 5) == "cuont: \"cuont\": unknown key, did you mean \"count\"?\n");
  CHECK(faults_with("parts", Json::array({{{"id", "a"}, {"numbre", 1}}})) ==
        "parts[0].numbre: \"numbre\": unknown key in parts[0], did you mean \"number\"?\n");
  CHECK(faults_with("\x1b[2J", 1) == "\\x1b[2J: \"\\x1b[2J\": unknown key\n");
  CHECK(
      faults_with("later", "soon") ==
      "later: is not built yet in this version of vmrig | remove the key, or set it to \"none\"\n");
  CHECK(faults_of(Json::array()) == ": is a list, an object is needed\n");
}

TEST_CASE("lists, alternatives and free properties are held to their rules") {
  CHECK(faults_with("parts", Json::object()) == "parts: is an object, a list is needed\n");
  CHECK(faults_with("parts", Json::array({1, 2, 3})) ==
        "parts: has 3 elements; 0 to 2 are possible\n");
  CHECK(faults_with("parts", {7}) == "parts[0]: 7 is a number, an object is needed\n");
  CHECK(faults_with("either", true) ==
        "either: is true or false, a string or a whole number is needed\n");
  CHECK(faults_with("either", 8) == "either: 8 is out of range; 0 to 7 is possible\n");
  CHECK(faults_with("properties", {{"A", 1}}) == "properties.A: is too long or empty\n");
  CHECK(faults_with("properties", {{"AA", 1}}) == "properties.AA: is no lower case\n");
  CHECK(faults_with("properties", {{"aa", Json::array()}}) ==
        "properties.aa: is a list, a string, a whole number, true or false is needed\n");
  CHECK(faults_with("properties", {{"aa", "\xff"}}).starts_with("properties.aa: \"\\xff\" is no"));
}

TEST_CASE("a rule over several members is told at its member, or at the whole") {
  CHECK(faults_with("count", 7) == "count: is unlucky | 8\n");
  CHECK(faults_with("count", 9) == ": is wrong as a whole\n");
}

TEST_CASE("the schema says what the reader holds to") {
  Sample sample;
  const Json schema = write_schema([&](Shape& shape) { visit(shape, sample); });
  CHECK(schema.at("required") == Json::array({"text"}));
  CHECK(schema.at("additionalProperties") == false);
  const Json& keys = schema.at("properties");
  CHECK(keys.at("text") == Json{{"type", "string"},
                                {"minLength", 2},
                                {"maxLength", 8},
                                {"pattern", "^[a-z]+$"},
                                {"$comment", "lower case"},
                                {"description", "A text."}});
  CHECK(keys.at("count").at("anyOf")[0] ==
        Json{{"type", "integer"}, {"minimum", 1}, {"maximum", 10}, {"default", 3}});
  CHECK(keys.at("mode").at("anyOf")[0] == Json{{"enum", {"slow", "fast"}}, {"default", "slow"}});
  CHECK(keys.at("parts").at("anyOf")[0].at("maxItems") == 2);
  CHECK(keys.at("parts").at("anyOf")[0].at("items").at("required") == Json::array({"id"}));
  CHECK(keys.at("either").at("anyOf")[0].at("anyOf").size() == 2);
  CHECK(keys.at("properties").at("anyOf")[0].at("propertyNames").at("pattern") == "^[a-z]+$");
  CHECK(keys.at("later").at("enum") == Json::array({"none", nullptr}));
}
