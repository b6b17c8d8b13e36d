#include "hostcfg/base/error.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace vmrig {
namespace {

std::string one_line(const Error::Parts& parts) {
  std::string text = parts.operation;
  // Not by operator+, in which g++ 12 sees an overlapping copy at -O3 (GCC bug 105651).
  const auto append = [&text](std::string_view separator, std::string_view part) {
    if (!text.empty()) text += separator;
    text += part;
  };
  if (!parts.object.empty()) append(" ", quote(parts.object));
  if (!parts.cause.empty()) append(": ", parts.cause);
  return text;
}

// Characters that are not seen and change how others are: writing from right to left, joining,
// lines that end. A name with them is shown as another. Unicode 15: U+200B to U+200F, U+2028 to
// U+202E, U+2060 to U+206F, U+FEFF.
bool is_format_character(unsigned char lead, unsigned char second, unsigned char third) {
  if (lead == 0xef) return second == 0xbb && third == 0xbf;
  if (lead != 0xe2) return false;
  if (second == 0x81) return third >= 0xa0 && third <= 0xaf;
  return second == 0x80 && ((third >= 0x8b && third <= 0x8f) || (third >= 0xa8 && third <= 0xae));
}

// The length of the valid UTF-8 sequence at the front of `text`, or 0.
std::size_t utf8_length(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text.front());
  const std::size_t length = lead < 0x80                    ? 1
                             : lead >= 0xc2 && lead <= 0xdf ? 2
                             : lead >= 0xe0 && lead <= 0xef ? 3
                             : lead >= 0xf0 && lead <= 0xf4 ? 4
                                                            : 0;
  if (length == 0 || length > text.size()) return 0;
  // Overlong forms hide a control byte, and surrogates and what is above U+10FFFF are no text:
  // Unicode 15, table 3-7. Only the second byte tells them from others.
  const auto second = length < 3 ? 0 : static_cast<unsigned char>(text[1]);
  if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f) ||
      (lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f)) {
    return 0;
  }
  const bool continued =
      std::all_of(text.begin() + 1, text.begin() + static_cast<std::ptrdiff_t>(length),
                  [](char byte) { return (static_cast<unsigned char>(byte) & 0xc0) == 0x80; });
  // C1 controls (U+0080 to U+009F) drive terminals too, and so are no text.
  const bool control = length == 2 && lead == 0xc2 && static_cast<unsigned char>(text[1]) < 0xa0;
  if (length == 3 && is_format_character(lead, static_cast<unsigned char>(second),
                                         static_cast<unsigned char>(text[2]))) {
    return 0;
  }
  return continued && !control ? length : 0;
}

}  // namespace

Error::Error(Parts parts) : std::runtime_error(one_line(parts)), parts_(std::move(parts)) {}

Error system_error(std::string operation, std::string object, int error_number, std::string mend) {
  return Error({.status = ExitStatus::kFailed,
                .operation = std::move(operation),
                .object = std::move(object),
                .cause = std::generic_category().message(error_number),
                .mend = std::move(mend)});
}

std::string_view severity_name(Severity severity) {
  switch (severity) {
    case Severity::kOk:
      return "ok";
    case Severity::kWarning:
      return "warning";
    case Severity::kProblem:
      return "problem";
  }
  return "problem";
}

std::string format_diagnostic(const Diagnostic& diagnostic) {
  std::string text;
  if (!diagnostic.file.empty()) {
    text += diagnostic.line > 0 ? fmt::format("{}:{}: ", diagnostic.file, diagnostic.line)
                                : diagnostic.file + ": ";
  }
  if (!diagnostic.path.empty()) text += diagnostic.path + ": ";
  text += diagnostic.message;
  if (!diagnostic.mend.empty()) text += "\n       mend: " + diagnostic.mend;
  return text;
}

DiagnosticsError::DiagnosticsError(std::vector<Diagnostic> diagnostics)
    : std::runtime_error(format_diagnostic(diagnostics.front())),
      diagnostics_(std::move(diagnostics)) {}

ExitStatus DiagnosticsError::status() const {
  auto found = std::find_if(diagnostics_.begin(), diagnostics_.end(),
                            [](const Diagnostic& d) { return d.status == ExitStatus::kUsage; });
  return found != diagnostics_.end() ? ExitStatus::kUsage : diagnostics_.front().status;
}

std::string quote(std::string_view text) {
  std::string out = "\"";
  while (!text.empty()) {
    const char c = text.front();
    const std::size_t length = utf8_length(text);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
      text.remove_prefix(1);
    } else if (c == '\n') {
      out += "\\n";
      text.remove_prefix(1);
    } else if (c == '\t') {
      out += "\\t";
      text.remove_prefix(1);
    } else if (length == 0 || static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
      text.remove_prefix(1);
    } else {
      out += text.substr(0, length);
      text.remove_prefix(length);
    }
  }
  return out + "\"";
}

}  // namespace vmrig
