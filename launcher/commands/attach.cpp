// vmrig attach: a device for a running VM.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "hostcfg/base/json_document.hpp"
#include "launcher/cli/output.hpp"
#include "launcher/commands/commands.hpp"
#include "launcher/commands/environment.hpp"
#include "launcher/commands/read_input.hpp"
#include "launcher/commands/seconds.hpp"
#include "launcher/commands/vm_connection.hpp"
#include "launcher/config/substitute.hpp"
#include "launcher/hotplug/requests.hpp"

namespace vmrig {
namespace {

struct AttachOptions {
  std::string name;
  std::string kind;
  std::string device;
  std::optional<double> timeout_s;
  bool json = false;
};

struct DeviceText {
  std::string text;
  std::string source;  // for messages
  std::string folder;  // what its relative paths are relative to
};

DeviceText device_text(const std::string& argument) {
  if (argument != "-" && !argument.starts_with("@")) {
    return {.text = argument, .source = "device", .folder = absolute_path(".")};
  }
  const std::string path = argument == "-" ? argument : argument.substr(1);
  return {.text = read_input("device", path, JsonDocument::kMaxBytes),
          .source = argument == "-" ? "standard input" : path,
          .folder = input_folder(path)};
}

// The supervisor has another working folder.
void make_paths_absolute(Json& device, const std::string& folder) {
  for (const char* key : {"path", "romfile"}) {
    const auto found = device.find(key);
    if (found == device.end() || !found->is_string()) continue;
    const std::string& path = found->get_ref<const std::string&>();
    if (!path.empty() && path.front() != '/') *found = folder + "/" + path;
  }
}

Json read_device(const std::string& argument) {
  const DeviceText input = device_text(argument);
  std::vector<Diagnostic> faults;
  JsonDocument document = JsonDocument::parse(input.text, input.source, faults);
  if (faults.empty()) substitute_environment(document, whole_environment(), faults);
  if (!faults.empty()) throw DiagnosticsError(std::move(faults));
  if (!document.root().is_object()) {
    throw Error({.status = ExitStatus::kUsage,
                 .operation = "read the device",
                 .object = argument,
                 .cause = "it has to be a JSON object",
                 .mend = R"(vmrig attach NAME disk '{"id": "disk1", "path": "disk1.qcow2"}')"});
  }
  make_paths_absolute(document.root(), input.folder);
  return std::move(document.root());
}

ExitStatus attach(const AttachOptions& options, const Context& context) {
  Json arguments = {{"kind", options.kind}, {"device", read_device(options.device)}};
  if (options.timeout_s) arguments["timeout"] = *options.timeout_s;
  const Json reply =
      ask_supervisor(context, options.name, "vmrig-attach", std::move(arguments), options.timeout_s,
                     fmt::format("attaching a device to {}", quote(options.name)));
  if (options.json) {
    write_json(reply);
  } else {
    write_out(fmt::format("attached {}\n", quote(reply.at("id").get<std::string>())));
  }
  return ExitStatus::kDone;
}

}  // namespace

RunCommand define_attach(CommandLine& line) {
  auto options = std::make_shared<AttachOptions>();
  line.positional("NAME", "The VM", options->name);
  line.positional("KIND", "disk, nic, vfio, usb, memory or rng", options->kind);
  line.positional("DEVICE", "An object as in the config's list; @FILE or - reads it",
                  options->device);
  line.seconds("--timeout", "Longest wait (30)", options->timeout_s);
  line.flag("--json", "As JSON", options->json);
  return [options](const Context& context) { return attach(*options, context); };
}

}  // namespace vmrig
