#include "launcher/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "hostcfg/base/error.hpp"
#include "hostcfg/base/utf8.hpp"

namespace vmrig {
namespace {

bool is_continuation(char byte) { return (static_cast<unsigned char>(byte) & 0xc0) == 0x80; }

// quote() escapes quotes and backslashes as well, which outside of quotes would only be noise.
std::string unescape_quotes(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool escaped = text[i] == '\\' && i + 1 < text.size();
    if (escaped && (text[i + 1] == '"' || text[i + 1] == '\\')) ++i;
    out += text[i];
  }
  return out;
}

bool is_shell_safe(char c) {
  constexpr std::string_view kSafe = "%+,-./:=@_";
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         kSafe.find(c) != std::string_view::npos;
}

std::string shell_word(const std::string& word) {
  if (!word.empty() && std::all_of(word.begin(), word.end(), is_shell_safe)) return word;
  std::string out = "'";
  for (const char c : word) {
    if (c == '\'') {
      out += "'\\''";
    } else {
      out += c;
    }
  }
  return out + "'";
}

bool is_shown_as_it_is(std::string_view word) {
  while (!word.empty()) {
    const std::size_t length = utf8_length(word);
    if (length == 0 || is_control(word)) return false;
    word.remove_prefix(length);
  }
  return true;
}

// Each byte that is not plain by its number: $'a\x0ab'.
std::string visible_shell_word(const std::string& word) {
  std::string out = "$'";
  for (const char c : word) {
    if (is_shell_safe(c) || c == ' ') {
      out += c;
    } else {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
  }
  return out + "'";
}

// Of a character with at most three bytes.
unsigned code_point_of(std::string_view text) {
  const auto byte = [text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  switch (utf8_length(text)) {
    case 1:
      return byte(0);
    case 2:
      return (byte(0) & 0x1fU) << 6 | (byte(1) & 0x3fU);
    default:
      return (byte(0) & 0x0fU) << 12 | (byte(1) & 0x3fU) << 6 | (byte(2) & 0x3fU);
  }
}

}  // namespace

std::string printable(std::string_view text) {
  const std::string quoted = quote(text);
  return unescape_quotes(std::string_view(quoted).substr(1, quoted.size() - 2));
}

std::string printable_lines(std::string_view text) {
  std::string out;
  for (;;) {
    const std::size_t end = text.find('\n');
    out += printable(text.substr(0, end));
    if (end == std::string_view::npos) return out;
    out += '\n';
    text.remove_prefix(end + 1);
  }
}

std::string styled(std::string_view text, Style style, Colour colour) {
  if (colour == Colour::kOff || style == Style::kPlain) return std::string(text);
  std::string_view code = "1";
  switch (style) {
    case Style::kPlain:
    case Style::kBold:
      break;
    case Style::kDim:
      code = "2";
      break;
    case Style::kGood:
      code = "32";
      break;
    case Style::kWarning:
      code = "33";
      break;
    case Style::kProblem:
      code = "31";
      break;
  }
  return fmt::format("\x1b[{}m{}\x1b[0m", code, text);
}

std::size_t columns_of(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char byte) { return !is_continuation(byte); }));
}

std::string wrapped(std::string_view text, std::size_t width, std::size_t indent) {
  std::string out;
  std::size_t column = indent;  // the first line starts after a label of that width
  while (!text.empty()) {
    const std::size_t end = text.find(' ');
    const std::string_view word = text.substr(0, end);
    const std::size_t length = columns_of(word);
    if (!out.empty()) {
      if (column + 1 + length > width) {
        out += '\n' + std::string(indent, ' ');
        column = indent;
      } else {
        out += ' ';
        ++column;
      }
    }
    out += word;
    column += length;
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return out;
}

std::string table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], columns_of(row[i]));
    }
  }
  std::string out;
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      out += row[i];
      if (i + 1 < row.size()) out += std::string(widths[i] + 2 - columns_of(row[i]), ' ');
    }
    out += '\n';
  }
  return out;
}

std::string duration_text(std::chrono::seconds duration) {
  const auto seconds = std::max<std::chrono::seconds::rep>(duration.count(), 0);
  constexpr int kMinute = 60;
  constexpr int kHour = 60 * kMinute;
  constexpr int kDay = 24 * kHour;
  if (seconds < kMinute) return fmt::format("{}s", seconds);
  if (seconds < kHour) return fmt::format("{}m{:02}s", seconds / kMinute, seconds % kMinute);
  if (seconds < kDay) {
    return fmt::format("{}h{:02}m", seconds / kHour, seconds % kHour / kMinute);
  }
  return fmt::format("{}d{:02}h", seconds / kDay, seconds % kDay / kHour);
}

std::string shell_quoted(const std::vector<std::string>& words, ShellForm form) {
  std::string out;
  for (const std::string& word : words) {
    if (!out.empty()) out += ' ';
    const bool needs_numbers = form == ShellForm::kForTerminal && !is_shown_as_it_is(word);
    out += needs_numbers ? visible_shell_word(word) : shell_word(word);
  }
  return out;
}

std::string json_text(const Json& json, int indent) {
  const std::string text = json.dump(indent, ' ', false, Json::error_handler_t::replace);
  std::string out;
  out.reserve(text.size());
  std::string_view left = text;
  while (!left.empty()) {
    // All but a few characters of most texts are plain; a schema of QEMU's has 250,000.
    const auto is_plain = [](char c) { return (c >= ' ' && c <= '~') || c == '\n'; };
    const auto plain_end = std::find_if_not(left.begin(), left.end(), is_plain);
    out.append(left.begin(), plain_end);
    left.remove_prefix(static_cast<std::size_t>(plain_end - left.begin()));
    if (left.empty()) break;
    const std::size_t length = std::max<std::size_t>(utf8_length(left), 1);
    if (is_control(left)) {  // within a string, where an escape may stand
      out += fmt::format("\\u{:04x}", code_point_of(left));
    } else {
      out += left.substr(0, length);
    }
    left.remove_prefix(length);
  }
  return out;
}

std::string quoted_list(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) {
    if (!out.empty()) out += ", ";
    out += quote(name);
  }
  return out;
}

}  // namespace vmrig
