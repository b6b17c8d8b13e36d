// vmrig verify: a running VM against its plan, from the kernel's own numbers.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "launcher/cli/output.hpp"
#include "launcher/commands/commands.hpp"
#include "launcher/commands/seconds.hpp"
#include "launcher/commands/vm_connection.hpp"
#include "launcher/config/load_config.hpp"
#include "launcher/verify.hpp"

namespace vmrig {
namespace {

struct VerifyOptions {
  std::string name;
  std::optional<double> seconds;
  bool json = false;
};

constexpr double kDefaultWindowS = 1;

VmState running_state(const Context& context, const std::string& name) {
  const VmEntry entry = find_vm(open_root_for(context, name), name);
  if (entry.state && entry.qemu_alive) return *entry.state;
  throw Error({.status = ExitStatus::kFailed,
               .operation = "verify VM",
               .object = name,
               .cause = entry.problem.empty()
                            ? fmt::format("it is {}", condition_name(entry.condition))
                            : entry.problem,
               .mend = "vmrig status " + name});
}

Json json_of(const std::vector<VerifyRow>& rows) {
  Json list = Json::array();
  for (const VerifyRow& row : rows) {
    list.push_back({{"subject", row.subject},
                    {"expected", row.expected},
                    {"measured", row.measured},
                    {"pass", row.pass}});
  }
  return list;
}

std::string text_of(const std::vector<VerifyRow>& rows) {
  std::vector<std::vector<std::string>> cells = {{"", "WHAT", "EXPECTED", "MEASURED"}};
  for (const VerifyRow& row : rows) {
    cells.push_back({row.pass ? "pass" : "FAIL", printable(row.subject), printable(row.expected),
                     printable(row.measured)});
  }
  return table(cells);
}

ExitStatus run_verify(const VerifyOptions& options, const Context& context) {
  const VmState state = running_state(context, options.name);
  const VmConfig config = config_from_json(state.config);
  const auto window = to_milliseconds(options.seconds.value_or(kDefaultWindowS));
  const VmMeasurement measured = [&] {
    const ProgressLine progress(fmt::format("watching the threads of {}", quote(options.name)),
                                window);
    return measure_vm(state, window);
  }();
  const std::vector<VerifyRow> rows = verify(state, config, measured);
  const auto failed =
      std::count_if(rows.begin(), rows.end(), [](const VerifyRow& row) { return !row.pass; });
  if (options.json) {
    write_json(json_of(rows));
  } else {
    write_out(text_of(rows) + fmt::format("{} of {} pass\n",
                                          static_cast<std::ptrdiff_t>(rows.size()) - failed,
                                          rows.size()));
  }
  return failed == 0 ? ExitStatus::kDone : ExitStatus::kFailed;
}

}  // namespace

RunCommand define_verify(CommandLine& line) {
  auto options = std::make_shared<VerifyOptions>();
  line.positional("NAME", "The VM", options->name);
  line.seconds("--seconds", "How long to watch its threads (1)", options->seconds);
  line.flag("--json", "As JSON", options->json);
  return [options](const Context& context) { return run_verify(*options, context); };
}

}  // namespace vmrig
