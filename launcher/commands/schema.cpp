// vmrig schema.
#include <memory>
#include <nlohmann/json.hpp>

#include "launcher/cli/output.hpp"
#include "launcher/commands/commands.hpp"
#include "launcher/config/load_config.hpp"

namespace vmrig {

RunCommand define_schema(CommandLine& line) {
  // The only form; the option is there because every reading command has it.
  auto json = std::make_shared<bool>(false);
  line.flag("--json", "As JSON, which is the only form", *json);
  return [json](const Context&) {
    write_out(config_schema().dump(2) + "\n");
    return ExitStatus::kDone;
  };
}

}  // namespace vmrig
