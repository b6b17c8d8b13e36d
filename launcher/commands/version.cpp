// vmrig version.
#include <memory>
#include <nlohmann/json.hpp>

#include "launcher/cli/output.hpp"
#include "launcher/commands/commands.hpp"

namespace vmrig {

RunCommand define_version(CommandLine& line) {
  auto json = std::make_shared<bool>(false);
  line.flag("--json", "As JSON", *json);
  return [json](const Context&) {
    if (*json) {
      write_json({{"version", VMRIG_VERSION}});
    } else {
      write_out("vmrig " VMRIG_VERSION "\n");
    }
    return ExitStatus::kDone;
  };
}

}  // namespace vmrig
