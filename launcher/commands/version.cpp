// vmrig version.
#include "launcher/cli/output.hpp"
#include "launcher/commands/commands.hpp"

namespace vmrig {

RunCommand define_version(CommandLine& /*line*/) {
  return [](const Context&) {
    write_out("vmrig " VMRIG_VERSION "\n");
    return ExitStatus::kDone;
  };
}

}  // namespace vmrig
