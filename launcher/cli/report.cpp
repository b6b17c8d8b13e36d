#include "launcher/cli/report.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

#include "launcher/cli/output.hpp"
#include "launcher/text.hpp"
#include "qmp/error.hpp"

namespace vmrig {
namespace {

// Every line after the first one stands under the words of the first.
std::string indented(const std::string& text) {
  std::string out;
  for (const char c : text) {
    out += c;
    if (c == '\n') out += "       ";
  }
  while (!out.empty() && (out.back() == ' ' || out.back() == '\n')) out.pop_back();
  return out;
}

std::string text_of(const std::string& message, const std::string& mend) {
  std::string out = "vmrig: " + indented(printable_lines(message)) + "\n";
  if (!mend.empty()) out += "       mend: " + indented(printable_lines(mend)) + "\n";
  return out;
}

Json json_of(const Diagnostic& diagnostic) {
  Json out = {{"severity", severity_name(diagnostic.severity)},
              {"status", static_cast<int>(diagnostic.status)},
              {"message", diagnostic.message}};
  if (!diagnostic.path.empty()) out["path"] = diagnostic.path;
  if (!diagnostic.mend.empty()) out["mend"] = diagnostic.mend;
  if (!diagnostic.file.empty()) out["file"] = diagnostic.file;
  if (diagnostic.line > 0) out["line"] = diagnostic.line;
  return out;
}

std::string one_json_line(ExitStatus status, Json errors) {
  const Json whole = {{"status", static_cast<int>(status)}, {"errors", std::move(errors)}};
  return json_text(whole) + "\n";
}

Report of_diagnostics(const DiagnosticsError& fault, ErrorForm form) {
  Report report{.status = fault.status(), .text = {}};
  if (form == ErrorForm::kJson) {
    Json errors = Json::array();
    for (const Diagnostic& diagnostic : fault.diagnostics()) errors.push_back(json_of(diagnostic));
    report.text = one_json_line(report.status, std::move(errors));
    return report;
  }
  for (Diagnostic diagnostic : fault.diagnostics()) {
    const std::string mend = std::exchange(diagnostic.mend, {});
    report.text += text_of(format_diagnostic(diagnostic), mend);
  }
  return report;
}

Report of_parts(ExitStatus status, const std::string& message, const std::string& mend,
                Json details, ErrorForm form) {
  if (form == ErrorForm::kText) return {.status = status, .text = text_of(message, mend)};
  details["status"] = static_cast<int>(status);
  details["message"] = message;
  if (!mend.empty()) details["mend"] = mend;
  return {.status = status, .text = one_json_line(status, Json::array({std::move(details)}))};
}

Report of_error(const Error& fault, ErrorForm form) {
  const Error::Parts& parts = fault.parts();
  Json details = Json::object();
  if (!parts.operation.empty()) details["operation"] = parts.operation;
  if (!parts.object.empty()) details["object"] = parts.object;
  if (!parts.cause.empty()) details["cause"] = parts.cause;
  return of_parts(fault.status(), fault.what(), parts.mend, std::move(details), form);
}

Report of_qmp(const qmp::Error& fault, ErrorForm form) {
  if (fault.kind() == qmp::ErrorKind::timeout) {
    return of_parts(ExitStatus::kTimeUp, fault.what(), "", Json::object(), form);
  }
  if (fault.kind() != qmp::ErrorKind::command) {
    return of_parts(ExitStatus::kFailed, fault.what(), "", Json::object(), form);
  }
  return of_parts(ExitStatus::kFailed, fmt::format("{}: {}", fault.error_class(), fault.desc()), "",
                  {{"class", fault.error_class()}, {"desc", fault.desc()}}, form);
}

void write_error(std::string_view text) {
  // One write, so that lines of parallel programs don't mix. Nobody is left to be told when it
  // fails.
  while (!text.empty()) {
    const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
    if (written <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace

Report describe_fault(const std::exception& fault, ErrorForm form) {
  if (dynamic_cast<const OutputClosed*>(&fault) != nullptr) return {};
  if (const auto* many = dynamic_cast<const DiagnosticsError*>(&fault)) {
    return of_diagnostics(*many, form);
  }
  if (const auto* error = dynamic_cast<const Error*>(&fault)) return of_error(*error, form);
  if (const auto* refused = dynamic_cast<const qmp::Error*>(&fault)) return of_qmp(*refused, form);
  return of_parts(ExitStatus::kFailed, fault.what(), "", Json::object(), form);
}

ExitStatus report_fault(const std::exception& fault, ErrorForm form) {
  const Report report = describe_fault(fault, form);
  write_error(report.text);
  return report.status;
}

void note(const std::string& text) { write_error("vmrig: " + printable_lines(text) + "\n"); }

}  // namespace vmrig
