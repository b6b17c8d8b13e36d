// vmrig host facts.
#include <nlohmann/json.hpp>

#include "hostcfg/facts.hpp"
#include "hostcfg/read_facts.hpp"
#include "hostcfg/topology.hpp"
#include "launcher/cli/output.hpp"
#include "launcher/commands/commands.hpp"
#include "launcher/text.hpp"

namespace vmrig {

RunCommand define_host_facts(CommandLine& line) {
  // JSON is the only form; the option is there because every reading command has it.
  auto json = std::make_shared<bool>(false);
  line.flag("--json", "As JSON, which is the only form", *json);
  return [json](const Context&) {
    const HostFacts facts = read_host_facts(FactsRequest{}, Topology::of_this_host());
    write_out(json_text(to_json(facts), 2) + "\n");
    return ExitStatus::kDone;
  };
}

}  // namespace vmrig
