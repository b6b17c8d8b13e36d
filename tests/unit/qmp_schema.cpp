#include "qmp/schema.hpp"

#include <doctest/doctest.h>

#include <set>
#include <string>

#include "qmp/error.hpp"

namespace {

using qmp::Json;
using Names = std::set<std::string>;

// Cut down from a real reply; types' names are masked there as here.
const char* const kSchema = R"([
  {"name": "blockdev-add", "meta-type": "command", "arg-type": "10", "ret-type": "0"},
  {"name": "device_add", "meta-type": "command", "arg-type": "0", "ret-type": "0",
   "features": ["json-cli", "json-cli-hotplug"]},
  {"name": "object-add", "meta-type": "command", "arg-type": "20", "ret-type": "0"},
  {"name": "STOP", "meta-type": "event", "arg-type": "0"},
  {"name": "0", "meta-type": "object", "members": []},
  {"name": "10", "meta-type": "object", "tag": "driver",
   "members": [{"name": "driver", "type": "11"},
               {"name": "list", "type": "[12]", "features": ["unstable"]}],
   "variants": [{"case": "file", "type": "12"}, {"case": "null-co", "type": "0"}]},
  {"name": "11", "meta-type": "enum", "values": ["file", "null-co"]},
  {"name": "12", "meta-type": "object", "members": [{"name": "aio", "type": "13", "default": null}]},
  {"name": "13", "meta-type": "enum",
   "members": [{"name": "threads"}, {"name": "native"}, {"name": "io_uring"}], "values": ["old"]},
  {"name": "[12]", "meta-type": "array", "element-type": "12"},
  {"name": "20", "meta-type": "object", "members": [{"name": "qom-type", "type": "str"},
                                                    {"name": "props", "type": "any"}]},
  {"name": "str", "meta-type": "builtin", "json-type": "string"},
  {"name": "any", "meta-type": "builtin", "json-type": "value"}
])";

}  // namespace

TEST_CASE("a schema answers for commands, events, features and arguments") {
  const qmp::Schema schema(Json::parse(kSchema));
  CHECK(schema.has_command("blockdev-add"));
  CHECK_FALSE(schema.has_command("STOP"));
  CHECK_FALSE(schema.has_command("10"));
  CHECK(schema.has_event("STOP"));
  CHECK_FALSE(schema.has_event("device_add"));
  CHECK(schema.commands() == Names{"blockdev-add", "device_add", "object-add"});
  CHECK(schema.events() == Names{"STOP"});
  CHECK(schema.has_feature("device_add", "json-cli-hotplug"));
  CHECK_FALSE(schema.has_feature("device_add", "other"));
  CHECK_FALSE(schema.has_feature("absent", "json-cli"));
  CHECK(schema.command_arg_has_member("object-add", "props"));
  CHECK_FALSE(schema.command_arg_has_member("object-add", "id"));
}

TEST_CASE("a schema's paths follow members, variants and arrays") {
  const qmp::Schema schema(Json::parse(kSchema));
  CHECK(schema.enum_values("blockdev-add", {"driver"}) == Names{"file", "null-co"});
  CHECK(schema.enum_values("blockdev-add", {"+file", "aio"}) ==
        Names{"threads", "native", "io_uring"});
  CHECK(schema.enum_values("blockdev-add", {"list", "aio"}).size() == 3);
  CHECK(schema.has_enum_value("blockdev-add", {"+file", "aio"}, "native"));
  CHECK_FALSE(schema.has_enum_value("blockdev-add", {"+file", "aio"}, "old"));
  CHECK(schema.has_path("blockdev-add", {"+null-co"}));
  CHECK_FALSE(schema.has_path("blockdev-add", {"+null-co", "aio"}));
  CHECK_FALSE(schema.has_path("blockdev-add", {"file"}));
  CHECK(schema.enum_values("object-add", {"qom-type"}).empty());
  CHECK(schema.member_has_feature("blockdev-add", {"list"}, "unstable"));
  CHECK_FALSE(schema.member_has_feature("blockdev-add", {"driver"}, "unstable"));
}

TEST_CASE("a malformed schema is an error, and dangling references are only absent") {
  CHECK_THROWS_AS((void)qmp::Schema(Json::object()), qmp::Error);
  CHECK_THROWS_AS(qmp::Schema(Json::parse(R"([{"name": "x"}])")), qmp::Error);
  CHECK_THROWS_AS(qmp::Schema(Json::parse("[7]")), qmp::Error);
  const qmp::Schema schema(Json::parse(R"([
    {"name": "a", "meta-type": "command", "arg-type": "gone"},
    {"name": "b", "meta-type": "command", "arg-type": "loop"},
    {"name": "c", "meta-type": "command"},
    {"name": "loop", "meta-type": "array", "element-type": "loop"}])"));
  CHECK_FALSE(schema.has_path("a", {}));
  CHECK_FALSE(schema.has_path("b", {"x"}));
  CHECK_FALSE(schema.has_path("c", {"x"}));
}
