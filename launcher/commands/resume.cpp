// vmrig resume.
#include <memory>
#include <string>

#include "launcher/commands/commands.hpp"
#include "launcher/commands/vm_connection.hpp"

namespace vmrig {

RunCommand define_resume(CommandLine& line) {
  auto name = std::make_shared<std::string>();
  auto json = std::make_shared<bool>(false);
  line.positional("NAME", "The VM", *name);
  line.flag("--json", "Faults as JSON", *json);
  return [name, json](const Context& context) {
    tell_vm(context, *name, "cont");
    return ExitStatus::kDone;
  };
}

}  // namespace vmrig
