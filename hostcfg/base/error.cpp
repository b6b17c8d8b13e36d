#include "hostcfg/base/error.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "hostcfg/base/utf8.hpp"

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
    if (c >= ' ' && c <= '~' && c != '"' && c != '\\') {
      out += c;
      text.remove_prefix(1);
      continue;
    }
    const std::size_t length = std::max<std::size_t>(utf8_length(text), 1);
    const bool is_shown = utf8_length(text) != 0 && !is_control(text);
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
    } else if (is_shown) {
      out += text.substr(0, length);
      text.remove_prefix(length);
    } else {
      for (const char byte : text.substr(0, length)) {
        out += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
      }
      text.remove_prefix(length);
    }
  }
  return out + "\"";
}

}  // namespace vmrig
