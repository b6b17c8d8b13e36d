#include "launcher/show_host_check.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

namespace vmrig {
namespace {

std::ptrdiff_t count(const std::vector<HostRow>& rows, Severity severity) {
  return std::count_if(rows.begin(), rows.end(),
                       [&](const HostRow& row) { return row.severity == severity; });
}

std::string counts(const std::vector<HostRow>& rows) {
  std::string text = fmt::format("{} ok", count(rows, Severity::kOk));
  for (const Severity severity : {Severity::kWarning, Severity::kProblem}) {
    const std::ptrdiff_t number = count(rows, severity);
    if (number == 0) continue;
    text += fmt::format(", {} {}{}", number, severity_name(severity), number > 1 ? "s" : "");
  }
  return text;
}

Style style_of(Severity severity) {
  switch (severity) {
    case Severity::kOk:
      return Style::kGood;
    case Severity::kWarning:
      return Style::kWarning;
    case Severity::kProblem:
      return Style::kProblem;
  }
  return Style::kPlain;
}

std::string padded(const std::string& text, std::size_t width) {
  const std::size_t used = columns_of(text);
  return used < width ? text + std::string(width - used, ' ') : text;
}

class Text {
 public:
  Text(const HostReport& report, Colour colour, std::size_t columns)
      : colour_(colour), columns_(columns) {
    for (const auto* rows : {&report.host, &report.plan}) {
      for (const HostRow& row : *rows) names_ = std::max(names_, columns_of(printable(row.name)));
    }
    names_ = std::min(names_, kMostNameColumns);
  }

  void section(const std::string& title, const std::vector<HostRow>& rows) {
    out_ +=
        styled(padded(title, kSeverityColumns), Style::kBold, colour_) + "  " + counts(rows) + '\n';
    for (const HostRow& row : rows) one(row);
  }

  void line(const std::string& text) { out_ += text + '\n'; }
  std::string take() { return std::move(out_); }

 private:
  static constexpr std::size_t kSeverityColumns = 9;  // "  problem"
  static constexpr std::size_t kMostNameColumns = 24;

  void one(const HostRow& row) {
    const std::string severity(severity_name(row.severity));
    const std::string name = padded(printable(row.name), names_);
    const std::size_t indent = kSeverityColumns + 2 + names_ + 2;
    out_ += "  " + styled(padded(severity, kSeverityColumns - 2), style_of(row.severity), colour_) +
            "  " + name + "  " +
            wrapped(printable(row.found), columns_,
                    std::max(indent, columns_of(name) + indent - names_)) +
            '\n';
    // Not wrapped: a command is there to be copied.
    const std::string margin(kSeverityColumns + 2, ' ');
    if (!row.mend.empty()) out_ += margin + "mend: " + printable(row.mend) + '\n';
    if (!row.keep.empty()) out_ += margin + "keep: " + printable(row.keep) + '\n';
  }

  Colour colour_;
  std::size_t columns_;
  std::size_t names_ = 0;
  std::string out_;
};

bool asks_for_parameters(const std::vector<HostRow>& rows) {
  constexpr std::string_view kWord = "kernel parameter";
  return std::any_of(rows.begin(), rows.end(), [&](const HostRow& row) {
    return row.mend.find(kWord) != std::string::npos || row.keep.find(kWord) != std::string::npos;
  });
}

Json rows_json(const std::vector<HostRow>& rows) {
  Json list = Json::array();
  for (const HostRow& row : rows) {
    Json out = {
        {"name", row.name}, {"severity", severity_name(row.severity)}, {"found", row.found}};
    if (!row.mend.empty()) out["mend"] = row.mend;
    if (!row.keep.empty()) out["keep"] = row.keep;
    list.push_back(std::move(out));
  }
  return list;
}

}  // namespace

bool HostReport::has_problems() const {
  return count(host, Severity::kProblem) + count(plan, Severity::kProblem) > 0;
}

HostRow row_of(const Diagnostic& finding) {
  return {.name = finding.path,
          .severity = finding.severity,
          .found = finding.message,
          .mend = finding.severity == Severity::kOk ? std::string{} : finding.mend,
          .keep = {}};
}

std::string show_host_check(const HostReport& report, Colour colour, std::size_t columns) {
  Text text(report, colour, columns);
  text.section("host", report.host);
  if (!report.vm.empty()) text.section("plan", report.plan);
  const std::string vm = report.vm.empty() ? "a tuned VM" : quote(report.vm);
  text.line(report.has_problems() ? fmt::format("this host can't run {} as it is", vm)
                                  : fmt::format("this host can run {}", vm));
  if (asks_for_parameters(report.host)) {
    text.line(
        "kernel parameters go to GRUB_CMDLINE_LINUX in /etc/default/grub; then update-grub, "
        "and boot");
  }
  return text.take();
}

Json to_json(const HostReport& report) {
  Json out = {{"can_run", !report.has_problems()}, {"host", rows_json(report.host)}};
  if (!report.vm.empty()) {
    out["vm"] = report.vm;
    out["plan"] = rows_json(report.plan);
  }
  return out;
}

}  // namespace vmrig
