// vmrig recover: remove what dead VMs left.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "launcher/cli/output.hpp"
#include "launcher/commands/commands.hpp"
#include "launcher/commands/environment.hpp"
#include "launcher/state_dir.hpp"

namespace vmrig {
namespace {

ExitStatus recover(bool json, const Context& context) {
  std::vector<std::string> names;
  if (auto root = StateRoot::open_existing(state_folder(context))) {
    const StateRoot::Lock lock = root->lock();
    names = root->clean(lock);
  }
  if (json) {
    write_json({{"removed", names}});
    return ExitStatus::kDone;
  }
  std::string text;
  for (const std::string& name : names) {
    text += fmt::format("removed what was left of {}\n", quote(name));
  }
  write_out(text);
  return ExitStatus::kDone;
}

}  // namespace

RunCommand define_recover(CommandLine& line) {
  auto json = std::make_shared<bool>(false);
  line.flag("--json", "As JSON", *json);
  return [json](const Context& context) { return recover(*json, context); };
}

}  // namespace vmrig
