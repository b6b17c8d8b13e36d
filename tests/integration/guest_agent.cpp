// libqmp-json with the real guest agent, which runs here as any program does.
#include <doctest/doctest.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "qmp/sync_client.hpp"
#include "tests/support/run_command.hpp"
#include "tests/support/skip.hpp"
#include "tests/support/temp_folder.hpp"
#include "tests/support/vm_guard.hpp"

namespace {

using namespace vmrig::testing;
using qmp::Json;

constexpr const char* kAgent = "/usr/sbin/qemu-ga";

qmp::Deadline soon() { return qmp::deadline_in(std::chrono::seconds(20)); }

TEST_CASE("the real guest agent is synchronised, answers, refuses, and takes a client again") {
  if (::access(kAgent, X_OK) != 0) SKIP_TEST("no qemu-ga (package qemu-guest-agent)");
  const TempFolder folder;
  const std::string socket = folder / "agent.sock";
  const RunningCommand agent({.argv = {kAgent, "-m", "unix-listen", "-p", socket, "-t",
                                       folder.path(), "-f", folder / "agent.pid"},
                              .environment = {},
                              .input = {},
                              .keep_input_open = true});
  REQUIRE(eventually([&socket] { return ::access(socket.c_str(), F_OK) == 0; }));

  qmp::SyncClient client = qmp::SyncClient::connect_guest_agent(socket, soon());
  CHECK(client.execute("guest-ping") == Json::object());
  const Json info = client.execute("guest-info");
  CHECK(info.at("version").is_string());
  CHECK(info.at("supported_commands").size() > 10);
  try {
    client.execute("guest-no-such-thing");
    FAIL("no error");
  } catch (const qmp::Error& error) {
    CHECK(error.error_class() == "CommandNotFound");
  }
  // What a client that died has left half-sent is dropped by the next one's synchronisation.
  qmp::SyncClient again = [&] {
    client.client().close();
    return qmp::SyncClient::connect_guest_agent(socket, soon());
  }();
  CHECK(again.execute("guest-ping") == Json::object());
  again.reconnect(soon());
  const std::vector<qmp::Request> batch(3, {"guest-ping", Json::object()});
  for (const qmp::Outcome& outcome : again.execute_all(batch, soon())) CHECK(outcome.ok());
}

}  // namespace
