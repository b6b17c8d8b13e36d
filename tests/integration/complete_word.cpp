// The word behind the shells' completions; tests/completion.py has the shells themselves.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "tests/support/skip.hpp"
#include "tests/support/vm_guard.hpp"

namespace {

using namespace vmrig;
using namespace vmrig::testing;

// vmrig complete with the state folder on the line that is completed.
CommandResult complete(const VmGuard& guard, std::vector<std::string> words) {
  CommandRequest request = guard.request({});
  request.argv = {vmrig_program(), "complete", "--state-dir", guard.state_dir()};
  request.argv.insert(request.argv.end(), words.begin(), words.end());
  return run_command(request);
}

TEST_CASE("complete is silent about everything that fails, and help does not show it") {
  const VmGuard guard;
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"stop", ""}, std::vector<std::string>{"detach", "ghost", ""},
        std::vector<std::string>{"detach", "../../etc", ""},
        std::vector<std::string>{"qmp", "ghost", ""},
        std::vector<std::string>{"events", "ghost", "--match", ""},
        std::vector<std::string>{"no-such-command", ""}}) {
    const CommandResult result = complete(guard, words);
    CHECK(result.status == 0);
    CHECK(result.out.empty());
    CHECK(result.err.empty());
  }
  CHECK(guard.vmrig({"help"}).out.find("complete") == std::string::npos);
}

TEST_CASE("complete knows what a VM has, what came by QMP, and what has gone") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  VmGuard guard;
  Json config = guard.config("named");
  config["nics"] = Json::array({{{"id", "net0"}, {"type", "user"}}});
  REQUIRE(guard.vmrig({"start", guard.write_config(config)}).status == 0);
  CHECK(complete(guard, {"stop", "n"}).out == "named\trunning, 1 vCPUs, 64MiB\n");
  CHECK(complete(guard, {"detach", "named", ""}).out == "net0\tnic\n");
  CHECK(guard.vmrig({"attach", "named", "rng", R"({"id": "extra"})"}).status == 0);
  CHECK(complete(guard, {"detach", "named", "e"}).out == "extra\trng\n");
  CHECK(guard
            .vmrig({"qmp", "named", "device_add",
                    R"({"driver": "virtio-rng-pci", "id": "foreign", "bus": "vmrig-port3"})"})
            .status == 0);
  CHECK(eventually([&] {
    return complete(guard, {"detach", "named", "f"}).out == "foreign\tadded by QMP\n";
  }));
  CHECK(complete(guard, {"set", "named", "link.net0="}).out == "link.net0=up\nlink.net0=down\n");
  CHECK(guard.vmrig({"stop", "named", "--force"}).status == 0);
  CHECK(complete(guard, {"stop", ""}).out.empty());
  CHECK(guard.nothing_left());
}

}  // namespace
