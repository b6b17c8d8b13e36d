// vmrig detach: a device leaves a running VM.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "launcher/cli/output.hpp"
#include "launcher/commands/commands.hpp"
#include "launcher/commands/vm_connection.hpp"

namespace vmrig {
namespace {

struct DetachOptions {
  std::string name;
  std::string id;
  std::optional<double> timeout_s;
  bool json = false;
};

ExitStatus detach(const DetachOptions& options, const Context& context) {
  Json arguments = {{"id", options.id}};
  if (options.timeout_s) arguments["timeout"] = *options.timeout_s;
  const Json reply =
      ask_supervisor(context, options.name, "vmrig-detach", std::move(arguments), options.timeout_s,
                     fmt::format("waiting for the guest to give {} free", quote(options.id)));
  if (options.json) {
    write_json(reply);
  } else {
    write_out(fmt::format("detached {}\n", quote(options.id)));
  }
  return ExitStatus::kDone;
}

}  // namespace

RunCommand define_detach(CommandLine& line) {
  auto options = std::make_shared<DetachOptions>();
  line.positional("NAME", "The VM", options->name);
  line.positional("ID", "The device", options->id);
  line.seconds("--timeout", "Longest wait for the guest to give it free (30)", options->timeout_s);
  line.flag("--json", "As JSON", options->json);
  return [options](const Context& context) { return detach(*options, context); };
}

}  // namespace vmrig
