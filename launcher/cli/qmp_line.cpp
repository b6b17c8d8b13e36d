#include "launcher/cli/qmp_line.hpp"

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "hostcfg/base/error.hpp"
#include "hostcfg/base/json_document.hpp"

namespace vmrig {
namespace {

constexpr std::string_view kSpace = " \t\r\n";

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

Json parse(std::string_view text, const std::string& what) {
  std::vector<Diagnostic> faults;
  JsonDocument document = JsonDocument::parse(text, what, faults);
  if (!faults.empty()) throw DiagnosticsError(std::move(faults));
  return std::move(document.root());
}

}  // namespace

Json read_qmp_arguments(std::string_view text) {
  Json arguments = parse(text, "JSON argument");
  if (arguments.is_object()) return arguments;
  throw Error({.status = ExitStatus::kUsage,
               .operation = "read QMP arguments",
               .object = std::string(text),
               .cause = "they have to be a JSON object",
               .mend = R"(COMMAND {"key": "value"})"});
}

Json read_qmp_line(std::string_view line) {
  line = trimmed(line);
  if (line.empty() || line.front() == '#') return {};
  if (line.front() == '{') {
    Json request = parse(line, "QMP request");
    if (request.contains("execute") || request.contains("exec-oob")) return request;
    throw Error({.status = ExitStatus::kUsage,
                 .operation = "read QMP request",
                 .object = std::string(line),
                 .cause = R"(it lacks "execute")",
                 .mend = R"({"execute": "COMMAND", "arguments": {…}})"});
  }
  const std::size_t end = line.find_first_of(" \t{[\"");
  const std::string_view name = line.substr(0, end);
  if (name.empty()) {
    throw Error({.status = ExitStatus::kUsage,
                 .operation = "read QMP command",
                 .object = std::string(line),
                 .cause = "it does not begin with a command's name",
                 .mend = R"(COMMAND {"key": "value"})"});
  }
  Json request = {{"execute", std::string(name)}};
  if (end == std::string_view::npos) return request;
  request["arguments"] = read_qmp_arguments(trimmed(line.substr(end)));
  return request;
}

}  // namespace vmrig
