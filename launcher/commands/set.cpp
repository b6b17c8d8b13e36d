// vmrig set: vCPUs, memory, balloon and links of a running VM.
#include <fmt/format.h>

#include <charconv>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hostcfg/base/error.hpp"
#include "launcher/cli/output.hpp"
#include "launcher/commands/commands.hpp"
#include "launcher/commands/settings.hpp"
#include "launcher/commands/vm_connection.hpp"

namespace vmrig {
namespace {

struct SetOptions {
  std::string name;
  std::vector<std::string> settings;
  std::optional<double> timeout_s;
  bool json = false;
};

Error bad_setting(const std::string& setting) {
  return Error({.status = ExitStatus::kUsage,
                .operation = "set",
                .object = setting,
                .cause = "there is nothing like that to set",
                .mend = "vcpus=N, memory=SIZE, balloon=SIZE, link.ID=up or link.ID=down"});
}

void add_setting(const std::string& setting, Json& arguments) {
  const std::size_t equals = setting.find('=');
  if (equals == std::string::npos) throw bad_setting(setting);
  const std::string key = setting.substr(0, equals);
  const std::string value = setting.substr(equals + 1);
  if (key == "vcpus") {
    int count = 0;
    const auto [end, fault] = std::from_chars(value.data(), value.data() + value.size(), count);
    if (fault != std::errc() || end != value.data() + value.size()) throw bad_setting(setting);
    arguments[key] = count;
  } else if (key == "memory" || key == "balloon") {
    arguments[key] = value;
  } else if (key.starts_with(kLinkPrefix)) {
    arguments["link"][key.substr(kLinkPrefix.size())] = value;
  } else {
    throw bad_setting(setting);
  }
}

ExitStatus set(const SetOptions& options, const Context& context) {
  Json arguments = Json::object();
  for (const std::string& setting : options.settings) add_setting(setting, arguments);
  if (options.timeout_s) arguments["timeout"] = *options.timeout_s;
  const Json reply = ask_supervisor(
      context, options.name, "vmrig-set", std::move(arguments), options.timeout_s,
      fmt::format("setting {} of {}", fmt::join(options.settings, " "), quote(options.name)));
  if (options.json) {
    write_json(reply);
  } else {
    for (const std::string& setting : options.settings) write_out(fmt::format("{}\n", setting));
  }
  return ExitStatus::kDone;
}

}  // namespace

RunCommand define_set(CommandLine& line) {
  auto options = std::make_shared<SetOptions>();
  line.positional("NAME", "The VM", options->name);
  line.positionals("KEY=VALUE", "vcpus=N, memory=SIZE, balloon=SIZE, link.ID=up or down",
                   options->settings);
  line.seconds("--timeout", "Longest wait (30)", options->timeout_s);
  line.flag("--json", "As JSON", options->json);
  return [options](const Context& context) { return set(*options, context); };
}

}  // namespace vmrig
