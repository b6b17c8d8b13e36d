// vmrig schema.
#include <nlohmann/json.hpp>

#include "launcher/cli/output.hpp"
#include "launcher/commands/commands.hpp"
#include "launcher/config/load_config.hpp"

namespace vmrig {

RunCommand define_schema(CommandLine& /*line*/) {
  return [](const Context&) {
    write_out(config_schema().dump(2) + "\n");
    return ExitStatus::kDone;
  };
}

}  // namespace vmrig
