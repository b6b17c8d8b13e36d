// Which bytes are characters, and which characters may be shown.
#include <doctest/doctest.h>

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>

#include "hostcfg/base/error.hpp"
#include "hostcfg/base/utf8.hpp"
#include "launcher/text.hpp"
#include "tests/support/run_command.hpp"

using namespace vmrig;

namespace {

std::string encoded(unsigned code_point) {
  const auto byte = [](unsigned value) { return std::string(1, static_cast<char>(value)); };
  const auto tail = [&](unsigned shift) { return byte(0x80U | ((code_point >> shift) & 0x3fU)); };
  if (code_point < 0x80) return byte(code_point);
  if (code_point < 0x800) return byte(0xc0U | (code_point >> 6)) + tail(0);
  if (code_point < 0x10000) return byte(0xe0U | (code_point >> 12)) + tail(6) + tail(0);
  return byte(0xf0U | (code_point >> 18)) + tail(12) + tail(6) + tail(0);
}

}  // namespace

TEST_CASE("every code point is one character, but for surrogates and what is above the last") {
  for (unsigned code_point = 0; code_point < 0x120000; ++code_point) {
    const bool is_character =
        code_point <= 0x10ffff && !(code_point >= 0xd800 && code_point <= 0xdfff);
    const std::string text = encoded(code_point);
    const std::size_t length = utf8_length(text + "x");
    if (length != (is_character ? text.size() : 0)) FAIL("U+" << fmt::format("{:04x}", code_point));
    if (is_utf8(text) != is_character) FAIL("U+" << fmt::format("{:04x}", code_point));
  }
}

TEST_CASE("overlong forms, stray and missing bytes are no characters") {
  for (const char* bytes :
       {"\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "\xf5\x80\x80\x80", "\x80",
        "\xff", "\xc3", "\xe2\x82", "\xf0\x9f\xa6", "\xc3x", "\xe2\x82x"}) {
    CAPTURE(quote(bytes));
    CHECK(utf8_length(bytes) == 0);
    CHECK_FALSE(is_utf8("a" + std::string(bytes)));
  }
  CHECK(utf8_length("") == 0);
  CHECK(is_utf8(""));
}

TEST_CASE("control characters are those of terminals, of directions and of lines") {
  int controls = 0;
  for (unsigned code_point = 0; code_point <= 0x10ffff; ++code_point) {
    if (code_point >= 0xd800 && code_point <= 0xdfff) continue;
    if (is_control(encoded(code_point))) ++controls;
  }
  // C0 and DEL, C1, ALM, LRM and RLM, U+2028 to U+202E, U+2066 to U+206F, BOM.
  CHECK(controls == 33 + 32 + 1 + 2 + 7 + 10 + 1);
  for (const unsigned code_point :
       {0x0aU, 0x1bU, 0x7fU, 0x9bU, 0x61cU, 0x200fU, 0x2028U, 0x202eU, 0x2066U, 0x206fU, 0xfeffU}) {
    CAPTURE(code_point);
    CHECK(is_control(encoded(code_point)));
    // Neither escapes of texts nor JSON let it through.
    CHECK(printable(encoded(code_point)).find(encoded(code_point)) == std::string::npos);
    CHECK(json_text(Json(encoded(code_point))).find(encoded(code_point)) == std::string::npos);
  }
  for (const char* shown :
       {"a", " ", "\xc3\xa9", "e\xcc\x81", "\xd7\x90", "\xe2\x80\x8b", "\xf0\x9f\xa6\x86"}) {
    CHECK_FALSE(is_control(shown));
    CHECK(quote(shown) == "\"" + std::string(shown) + "\"");
  }
}

TEST_CASE("JSON that is shown is the same JSON, without control characters") {
  const Json json = {{"a\x7f\x1b", "x\xe2\x80\xae\xc2\x9b\xef\xbb\xbf\n\xd8\x9c"},
                     {"\xf0\x9f\xa6\x86",
                      {1, true, nullptr,
                       "Gr\xc3\xb6\xc3\x9f"
                       "e"}}};
  for (const int indent : {-1, 2}) {
    const std::string text = json_text(json, indent);
    CHECK(Json::parse(text) == json);
    for (std::string_view left = text; !left.empty(); left.remove_prefix(utf8_length(left))) {
      REQUIRE(utf8_length(left) != 0);
      CHECK((left.front() == '\n' || !is_control(left)));
    }
  }
  CHECK(json_text(Json("\xff")) == "\"\xef\xbf\xbd\"");
  CHECK(json_text(Json("\xe2\x80\xae")) == "\"\\u202e\"");
}

TEST_CASE("a shell reads a printed line back as the same words, in both forms") {
  const std::vector<std::string> words = {"plain",
                                          "",
                                          "a b",
                                          "it's",
                                          "$HOME",
                                          "`id`",
                                          "\\",
                                          "\"",
                                          "a\nb",
                                          "-x",
                                          "*",
                                          "\x1b[2J",
                                          "\x7f",
                                          "\xff\xfe",
                                          "\xe2\x80\xae",
                                          "\xc2\x9b",
                                          "Gr\xc3\xb6\xc3\x9f"
                                          "e",
                                          "\x01"
                                          "23"};
  std::string expected;
  for (const std::string& word : words) expected += word + '\0';
  const auto read_back = [](const char* shell, const std::string& line) {
    testing::CommandRequest request;
    request.argv = {shell};
    request.input = "printf '%s\\0' " + line;
    return testing::run_command(std::move(request)).out;
  };
  CHECK(read_back("sh", shell_quoted(words)) == expected);
  const std::string visible = shell_quoted(words, ShellForm::kForTerminal);
  CHECK(read_back("bash", visible) == expected);
  CHECK(printable_lines(visible) == visible);
}
