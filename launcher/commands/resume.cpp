// vmrig resume.
#include <memory>
#include <string>

#include "launcher/commands/commands.hpp"
#include "launcher/commands/vm_connection.hpp"

namespace vmrig {

RunCommand define_resume(CommandLine& line) {
  auto name = std::make_shared<std::string>();
  line.positional("NAME", "The VM", *name);
  return [name](const Context& context) {
    tell_vm(context, *name, "cont");
    return ExitStatus::kDone;
  };
}

}  // namespace vmrig
