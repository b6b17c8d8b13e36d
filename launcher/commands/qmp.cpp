// vmrig qmp: one command.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "hostcfg/base/json_document.hpp"
#include "launcher/cli/output.hpp"
#include "launcher/commands/commands.hpp"
#include "launcher/commands/seconds.hpp"
#include "launcher/commands/vm_connection.hpp"

namespace vmrig {
namespace {

struct QmpOptions {
  std::string name;
  std::string command;
  std::optional<std::string> arguments;
  std::optional<double> timeout_s;
};

constexpr double kDefaultTimeoutS = 60;

Json parse_arguments(const std::string& text) {
  std::vector<Diagnostic> faults;
  JsonDocument document = JsonDocument::parse(text, "JSON argument", faults);
  if (!faults.empty()) throw DiagnosticsError(std::move(faults));
  if (document.root().is_object()) return std::move(document.root());
  throw Error({.status = ExitStatus::kUsage,
               .operation = "read QMP arguments",
               .object = text,
               .cause = "they have to be a JSON object",
               .mend = R"(vmrig qmp NAME COMMAND '{"key": "value"}')"});
}

ExitStatus run_qmp(const QmpOptions& options, const Context& context) {
  Json arguments = options.arguments ? parse_arguments(*options.arguments) : Json::object();
  const auto timeout = to_milliseconds(options.timeout_s.value_or(kDefaultTimeoutS));
  VmConnection vm = VmConnection::open(context, options.name);
  write_json(vm.execute(options.command, std::move(arguments), qmp::deadline_in(timeout)));
  return ExitStatus::kDone;
}

}  // namespace

RunCommand define_qmp(CommandLine& line) {
  auto options = std::make_shared<QmpOptions>();
  line.positional("NAME", "The VM", options->name);
  line.positional("COMMAND", "A QMP command, as query-status", options->command);
  line.positional("JSON", "Its arguments, a JSON object", options->arguments);
  line.seconds("--timeout", "Longest wait for the reply (60)", options->timeout_s);
  return [options](const Context& context) { return run_qmp(*options, context); };
}

}  // namespace vmrig
