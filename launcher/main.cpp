// The command line program.
#include <csignal>
#include <exception>
#include <string>
#include <vector>

#include "launcher/cli/command_line.hpp"
#include "launcher/cli/report.hpp"
#include "launcher/commands/commands.hpp"
#include "launcher/commands/complete.hpp"
#include "launcher/commands/environment.hpp"

int main(int argc, char** argv) {
  // A peer or reader that has gone is an error to report (EPIPE), not a reason to die with a VM
  // in one's hands. spawn() gives QEMU the default back.
  std::signal(SIGPIPE, SIG_IGN);
  vmrig::ErrorForm error_form = vmrig::ErrorForm::kText;
  try {
    vmrig::Context context{.state_dir = vmrig::environment_value("VMRIG_STATE_DIR")};
    std::vector<std::string> words(argv + (argc > 0 ? 1 : 0), argv + argc);
    if (!words.empty() && words.front() == vmrig::kCompleteWord) {
      words.erase(words.begin());
      return static_cast<int>(vmrig::complete(words, vmrig::all_commands(), context));
    }
    const vmrig::RunCommand run =
        vmrig::parse_command_line(words, vmrig::all_commands(), context, error_form);
    return static_cast<int>(run(context));
  } catch (const std::exception& fault) {
    return static_cast<int>(vmrig::report_fault(fault, error_form));
  }
}
