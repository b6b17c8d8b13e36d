// The tests' own reader of command lines finds what a value would smuggle in.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/support/argv_reader.hpp"

using namespace vmrig;
using namespace vmrig::testing;

TEST_CASE("lists of options are read as QEMU reads them") {
  CHECK(read_options("a=1,b=x,,y,c") == Json{{"a", "1"}, {"b", "x,y"}, {"", "c"}});
  CHECK(read_options("a=b=c,d=") == Json{{"a", "b=c"}, {"d", ""}});
  CHECK(read_options("a=1,a=2,a=3") == Json{{"a", {"1", "2", "3"}}});
  CHECK(read_options("a=,,,b=1") == Json{{"a", ","}, {"b", "1"}});
  CHECK_THROWS_AS(read_options("a=1,b c=2"), std::runtime_error);
}

TEST_CASE("an argument is one option with its value") {
  CHECK(read_argument({"-S"}) == Json{{"-S", nullptr}});
  CHECK(read_argument({"-append", "a,b=c -S"}) == Json{{"-append", "a,b=c -S"}});
  CHECK(read_argument({"-device", R"({"driver": "x", "a": 1})"}) ==
        Json{{"-device", {{"driver", "x"}, {"a", 1}}}});
  CHECK(read_argument({"-device", "x,a=1"}) == Json{{"-device", {{"", "x"}, {"a", "1"}}}});
}

TEST_CASE("what plans don't have is refused") {
  const std::vector<std::vector<std::string>> smuggled = {
      {},
      {"-incoming", "exec:id"},
      {"-S", "-S"},
      {"-append"},
      {"-name", "guest=a,process=b"},
      {"-name", "guest=a,guest=b"},
      {"-chardev", "file,id=c,path=/x,logfile=/y"},
      {"-device", "{\"driver\""},
      {"-blockdev", "{} {}"},
      {"-sandbox", "on,obsolete=deny,spawn=allow,spawn=deny"}};
  for (const auto& words : smuggled) {
    CAPTURE(words.empty() ? std::string() : words.front());
    CHECK_THROWS_AS(read_argument(words), std::runtime_error);
  }
}
