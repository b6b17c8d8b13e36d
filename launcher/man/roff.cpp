#include "launcher/man/roff.hpp"

#include <fmt/format.h>

namespace vmrig {
namespace {

// The code point of the UTF-8 sequence at the beginning of `text`, which is taken off.
char32_t take_code_point(std::string_view& text) {
  const auto byte = [&text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  constexpr unsigned kTwo = 0xc0;
  constexpr unsigned kThree = 0xe0;
  constexpr unsigned kFour = 0xf0;
  constexpr unsigned kRest = 0x3f;
  const unsigned first = byte(0);
  const std::size_t length = first >= kFour ? 4 : first >= kThree ? 3 : first >= kTwo ? 2 : 1;
  char32_t point = length == 1 ? first : first & (0xffU >> (length + 1));
  for (std::size_t i = 1; i < length && i < text.size(); ++i)
    point = point << 6 | (byte(i) & kRest);
  text.remove_prefix(std::min(length, text.size()));
  return point;
}

}  // namespace

std::string roff(std::string_view text) {
  std::string out;
  bool at_line_start = true;
  while (!text.empty()) {
    const char32_t point = take_code_point(text);
    constexpr char32_t kAscii = 0x80;
    const char c = point < kAscii ? static_cast<char>(point) : '\0';
    if (at_line_start && (c == '.' || c == '\'')) out += "\\&";
    at_line_start = c == '\n';
    switch (c) {
      case '\0':
        out += fmt::format("\\[u{:04X}]", static_cast<unsigned>(point));
        break;
      case '\\':
        out += "\\e";
        break;
      case '-':
        out += "\\-";
        break;
      case '"':
        out += "\\(dq";
        break;
      case '\'':
        out += "\\(aq";
        break;
      case '`':
        out += "\\(ga";
        break;
      case '^':
        out += "\\(ha";
        break;
      case '~':
        out += "\\(ti";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string roff_bold(std::string_view text) { return "\\fB" + roff(text) + "\\fR"; }

std::string roff_italic(std::string_view text) { return "\\fI" + roff(text) + "\\fR"; }

}  // namespace vmrig
