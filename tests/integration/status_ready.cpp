// What a container's probe asks: whether the guest runs, by the exit status alone.
#include <doctest/doctest.h>

#include <csignal>
#include <nlohmann/json.hpp>

#include "tests/support/skip.hpp"
#include "tests/support/vm_guard.hpp"

namespace {

using namespace vmrig;
using namespace vmrig::testing;

int answer(const VmGuard& guard) {
  const CommandResult result = guard.vmrig({"status", "probed", "--ready"});
  CHECK(result.out.empty());
  return result.status;
}

TEST_CASE("status --ready is 0 for a guest that runs, 1 for one that does not, 5 for none") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  VmGuard guard;
  CHECK(answer(guard) == 5);
  const std::string file = guard.write_config(guard.config("probed"));
  REQUIRE(guard.vmrig({"start", "--paused", file}).status == 0);
  CHECK(answer(guard) == 1);
  CHECK(guard.vmrig({"resume", "probed"}).status == 0);
  CHECK(answer(guard) == 0);
  CHECK(guard.vmrig({"pause", "probed"}).status == 0);
  CHECK(answer(guard) == 1);
  CHECK(guard.vmrig({"resume", "probed"}).status == 0);
  // Nobody supervises it any more: it is not what was asked for.
  const auto listed = [&] { return guard.vmrig_json({"list", "--json"}).at(0); };
  ::kill(listed().at("supervisor").get<pid_t>(), SIGKILL);
  CHECK(eventually([&] { return listed().at("state") == Json("orphaned"); }));
  CHECK(answer(guard) == 1);
  CHECK(guard.vmrig({"stop", "probed", "--force"}).status == 0);
  CHECK(answer(guard) == 5);
  CHECK(guard.nothing_left());
}

}  // namespace
