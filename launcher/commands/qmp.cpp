// vmrig qmp: one command, a script of them, or a terminal.
#include <fmt/format.h>
#include <unistd.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "launcher/cli/output.hpp"
#include "launcher/cli/qmp_line.hpp"
#include "launcher/commands/commands.hpp"
#include "launcher/commands/qmp_session.hpp"
#include "launcher/commands/seconds.hpp"
#include "launcher/commands/vm_connection.hpp"
#include "launcher/text.hpp"

namespace vmrig {
namespace {

struct QmpOptions {
  std::string name;
  std::optional<std::string> command;
  std::optional<std::string> arguments;
  std::optional<double> timeout_s;
  bool keep_going = false;
  bool json = false;
};

constexpr double kDefaultTimeoutS = 60;

ExitStatus run_one(const QmpOptions& options, const Context& context,
                   std::chrono::milliseconds timeout) {
  Json arguments = options.arguments ? read_qmp_arguments(*options.arguments) : Json::object();
  ProgressLine progress(fmt::format("waiting for {}", *options.command), timeout);
  VmConnection vm = VmConnection::open(context, options.name);
  const Json value = vm.execute(*options.command, std::move(arguments), qmp::deadline_in(timeout));
  progress.end();
  if (options.json) {
    write_out(json_text(value) + "\n");
  } else {
    write_json(value);
  }
  return ExitStatus::kDone;
}

ExitStatus run_qmp(const QmpOptions& options, const Context& context) {
  const auto timeout = to_milliseconds(options.timeout_s.value_or(kDefaultTimeoutS));
  if (options.command) return run_one(options, context, timeout);
  using Form = QmpSessionOptions::Form;
  using OnError = QmpSessionOptions::OnError;
  const QmpSessionOptions session{.name = options.name,
                                  .timeout = timeout,
                                  .form = options.json ? Form::kJson : Form::kPeople,
                                  .on_error = options.keep_going ? OnError::kGoOn : OnError::kStop};
  qmp::ClientOptions client;
  client.oob = qmp::OobUse::when_offered;  // a script may send exec-oob
  VmConnection vm = [&] {
    const ProgressLine progress = waiting_for(options.name);
    return VmConnection::open(context, options.name, client);
  }();
  const bool is_typed = ::isatty(STDIN_FILENO) == 1 && stdout_is_terminal();
  return is_typed ? run_qmp_terminal(std::move(vm), session)
                  : run_qmp_script(std::move(vm), session);
}

}  // namespace

RunCommand define_qmp(CommandLine& line) {
  auto options = std::make_shared<QmpOptions>();
  line.positional("NAME", "The VM", options->name);
  line.positional("COMMAND",
                  "A QMP command, as query-status. Without one: commands from standard "
                  "input, one a line, and whole replies, one a line; or typed at a terminal",
                  options->command);
  line.positional("JSON", "Its arguments, a JSON object", options->arguments);
  line.flag("--keep-going", "Go on with a script after a command that fails", options->keep_going);
  line.flag("--json", "JSON on one line each, events at a terminal too", options->json);
  line.seconds("--timeout", "Longest wait for a reply (60)", options->timeout_s);
  return [options](const Context& context) { return run_qmp(*options, context); };
}

}  // namespace vmrig
