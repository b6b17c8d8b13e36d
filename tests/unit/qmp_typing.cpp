// QMP commands as they are typed: read, and completed.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "hostcfg/base/error.hpp"
#include "launcher/cli/qmp_completion.hpp"
#include "launcher/cli/qmp_line.hpp"

namespace {

using namespace vmrig;
using Words = std::vector<std::string>;

const char* const kSchema = R"([
  {"name": "blockdev-add", "meta-type": "command", "arg-type": "10", "ret-type": "0"},
  {"name": "blockdev-del", "meta-type": "command", "arg-type": "15", "ret-type": "0"},
  {"name": "stop", "meta-type": "command", "arg-type": "0", "ret-type": "0"},
  {"name": "0", "meta-type": "object", "members": []},
  {"name": "10", "meta-type": "object", "tag": "driver",
   "members": [{"name": "driver", "type": "11"}, {"name": "node-name", "type": "str"},
               {"name": "discard", "type": "16"}],
   "variants": [{"case": "file", "type": "12"}, {"case": "qcow2", "type": "14"}]},
  {"name": "11", "meta-type": "enum", "values": ["file", "qcow2", "qcow"]},
  {"name": "12", "meta-type": "object", "members": [{"name": "aio", "type": "13"},
                                                    {"name": "filename", "type": "str"}]},
  {"name": "13", "meta-type": "enum", "values": ["threads", "native", "io_uring"]},
  {"name": "14", "meta-type": "object", "members": [{"name": "file", "type": "17"},
                                                    {"name": "list", "type": "[10]"}]},
  {"name": "15", "meta-type": "object", "members": [{"name": "node-name", "type": "str"}]},
  {"name": "16", "meta-type": "enum", "values": ["ignore", "unmap"]},
  {"name": "17", "meta-type": "alternate", "members": [{"type": "10"}, {"type": "str"}]},
  {"name": "[10]", "meta-type": "array", "element-type": "10"},
  {"name": "str", "meta-type": "builtin", "json-type": "string"}
])";

Completion complete(const std::string& typed) {
  const qmp::Schema schema(Json::parse(kSchema));
  return complete_qmp(schema, {"blockdev-add", "blockdev-del", "stop", "vmrig-status"}, typed);
}

TEST_CASE("a QMP command is read from a bare name, a name with arguments, or a whole request") {
  CHECK(read_qmp_line("  query-status \r") == Json{{"execute", "query-status"}});
  const Json with_arguments = {{"execute", "netdev_del"}, {"arguments", {{"id", "n0"}}}};
  CHECK(read_qmp_line(R"(netdev_del {"id": "n0"})") == with_arguments);
  CHECK(read_qmp_line(R"(netdev_del{"id": "n0"})") == with_arguments);
  CHECK(read_qmp_line(R"({"exec-oob": "x", "id": [1]})") == Json{{"exec-oob", "x"}, {"id", {1}}});
  CHECK(read_qmp_line("").is_null());
  CHECK(read_qmp_line("   # a comment").is_null());
}

TEST_CASE("what is no QMP command is refused") {
  for (const char* line : {"stop [1]", "stop {", "stop {\"a\": 1, \"a\": 2}", "{\"a\": 1}", "{",
                           "stop 7", "[1]", "\"stop\""}) {
    INFO(line);
    CHECK_THROWS_AS(read_qmp_line(line), std::runtime_error);
  }
}

TEST_CASE("completion knows the names of commands") {
  CHECK(complete("").words.size() == 4);
  const Completion both = complete("  bl");
  CHECK(both.words == Words{"blockdev-add", "blockdev-del"});
  CHECK(both.from == 2);
  CHECK(complete("vmrig").words == Words{"vmrig-status"});
  CHECK(complete("stop").after == " ");
  CHECK(complete("absent").words.empty());
}

TEST_CASE("completion knows the members of an object and of the variant that was chosen") {
  CHECK(complete("blockdev-add {\"").words == Words{"discard", "driver", "node-name"});
  CHECK(complete("blockdev-add {\"d").words == Words{"discard", "driver"});
  CHECK(complete(R"(blockdev-add {"driver": "file", ")").words ==
        Words{"aio", "discard", "filename", "node-name"});
  const Completion nested =
      complete(R"(blockdev-add {"driver": "qcow2", "file": {"driver": "file", "fi)");
  CHECK(nested.words == Words{"filename"});
  CHECK(nested.after == "\": ");
  CHECK(complete(R"(blockdev-add {"driver": "qcow2", "list": [{"driver": "file"}, {"dri)").words ==
        Words{"driver"});
  CHECK(complete("stop {\"").words.empty());
  CHECK(complete("blockdev-add {").words.empty());
}

TEST_CASE("completion knows the values of enums") {
  const Completion drivers = complete(R"(blockdev-add {"driver": "q)");
  CHECK(drivers.words == Words{"qcow", "qcow2"});
  CHECK(drivers.after == "\"");
  CHECK(complete(R"(blockdev-add {"driver": "file", "aio": "n)").words == Words{"native"});
  CHECK(complete(R"(blockdev-add {"node-name": "n)").words.empty());
  CHECK(complete(R"(blockdev-add {"absent": ")").words.empty());
}

TEST_CASE("completion takes any text") {
  for (const char* text :
       {"x }}]]", "x {\"\\", "x \"", "x :,:", "{\"", "stop ]{,\"a", "stop {\"a\":[\""}) {
    INFO(text);
    CHECK(complete(text).words.empty());
  }
}

}  // namespace
