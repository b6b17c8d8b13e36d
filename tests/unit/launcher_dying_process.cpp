#include "launcher/dying_process.hpp"

#include <doctest/doctest.h>

#include <csignal>

#include "launcher/spawn.hpp"
#include "tests/support/held_at_exit.hpp"
#include "tests/support/skip.hpp"

using namespace vmrig;
using namespace vmrig::testing;

TEST_CASE("a process that has been killed is dying until it is gone, however long that takes") {
  SpawnRequest request;
  request.argv = {"/bin/sleep", "600"};
  const Child child = spawn(request);
  const ProcessIdentity process = child.identity;
  HeldAtExit held(process.pid);
  CHECK_FALSE(is_dying(process));
  REQUIRE((!held.is_traced() || held.kill()));
  if (held.is_traced()) {
    CHECK(is_alive(process));
    CHECK(is_dying(process));
    CHECK_FALSE(is_dying({.pid = process.pid, .start_time = process.start_time + 1}));
    held.let_go();
  } else {
    send_signal(child.pidfd.get(), SIGKILL);
  }
  REQUIRE(wait_for_exit(child.pidfd.get(), qmp::deadline_in(std::chrono::seconds(10))));
  CHECK_FALSE(is_dying(process));  // a zombie holds nothing
  CHECK(reap(child.pidfd.get()).has_value());
  CHECK_FALSE(is_dying(process));
}
