// Channels to a real guest, its agent, and what a hostile one can do with them.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <string>

#include "qmp/sync_client.hpp"
#include "tests/support/guest.hpp"
#include "tests/support/guest_console.hpp"
#include "tests/support/process_memory.hpp"
#include "tests/support/skip.hpp"
#include "tests/support/vm_guard.hpp"

namespace {

using namespace vmrig;
using namespace vmrig::testing;

constexpr const char* kAgent = "org.qemu.guest_agent.0";

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

qmp::Deadline soon() { return qmp::deadline_in(std::chrono::seconds(20)); }

Json with_agent(Json config) {
  config["channels"] = Json::array({{{"name", kAgent}}});
  return config;
}

TEST_CASE("start waits for the guest's agent, which answers on the channel's socket") {
  NEED_GUEST();
  VmGuard guard;
  const Json config = with_agent(guest_config(guard, "agent"));
  const CommandResult started =
      guard.vmrig({"start", guard.write_config(config), "--wait=agent", "--timeout", "90"});
  REQUIRE_MESSAGE(started.status == 0, started.err);
  const std::string socket = guard.state_dir() + "/agent/" + kAgent + ".sock";
  struct stat status {};
  REQUIRE(::stat(socket.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);
  {
    qmp::SyncClient agent = qmp::SyncClient::connect_guest_agent(socket, soon());
    CHECK(agent.execute("guest-ping") == Json::object());
  }
  const Json shown = guard.vmrig_json({"status", "agent", "--json"});
  REQUIRE(shown.at("channels").size() == 1);
  CHECK(shown.at("channels")[0] ==
        Json{{"id", kAgent}, {"name", kAgent}, {"socket", socket}, {"open", true}});
  CHECK(contains(guard.vmrig({"status", "agent"}).out, socket + ", the guest listens"));
  CHECK(guard.vmrig({"stop", "agent"}).status == 0);
  CHECK(guard.nothing_left());
}

TEST_CASE("a wait for an agent that does not come ends with status 124, and the VM with it") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  VmGuard guard;
  const std::string config = guard.write_config(with_agent(guard.config("none")));
  const CommandResult late = guard.vmrig({"start", config, "--wait=agent", "--timeout", "0.5"});
  CHECK(late.status == 124);
  CHECK(contains(late.err, "wait for the guest's agent"));
  CHECK(guard.nothing_left());
  const CommandResult refused =
      guard.vmrig({"start", guard.write_config(guard.config("no")), "--wait=agent"});
  CHECK(refused.status == 2);
  CHECK(contains(refused.err, R"("channels": [{"name": "org.qemu.guest_agent.0"}])"));
  CHECK(guard.nothing_left());
}

TEST_CASE("a channel comes to a running guest, carries bytes both ways, and goes") {
  NEED_GUEST();
  VmGuard guard;
  REQUIRE(guard.vmrig({"start", guard.write_config(guest_config(guard, "plug"))}).status == 0);
  GuestConsole guest(guard.state_dir() + "/plug/console.sock");
  const CommandResult attached =
      guard.vmrig({"attach", "plug", "channel", R"({"name": "com.example.test", "id": "c0"})"});
  REQUIRE_MESSAGE(attached.status == 0, attached.err);
  guest.await("grep -qx com.example.test /sys/class/virtio-ports/*/name");
  const std::string socket = guard.state_dir() + "/plug/c0.sock";
  const std::string port =
      guest.run("basename $(dirname $(grep -lx com.example.test /sys/class/virtio-ports/*/name))");
  {
    RunningCommand host({.argv = {"python3", "-c",
                                  "import socket,sys; s=socket.socket(socket.AF_UNIX); "
                                  "s.connect(sys.argv[1]); s.sendall(b'from the host\\n'); "
                                  "print(s.makefile().readline(), flush=True); "
                                  "sys.stdin.read()",
                                  socket},
                         .environment = {},
                         .input = {},
                         .keep_input_open = true});
    // With nobody on the host's side yet a read ends at once.
    CHECK(guest.run("exec 5<>/dev/" + port +
                    "; until read -r line <&5; do usleep 20000; done; echo from the guest >&5; "
                    "echo $line") == "from the host");
    CHECK(host.wait_for_out("from the guest"));
  }
  // A second of that name or id is refused, and changes nothing.
  CHECK(guard.vmrig({"attach", "plug", "channel", R"({"name": "com.example.test", "id": "c1"})"})
            .status == 2);
  CHECK(guard.vmrig({"attach", "plug", "channel", R"({"name": "other", "id": "c0"})"}).status == 2);
  const CommandResult detached = guard.vmrig({"detach", "plug", "c0"});
  CHECK_MESSAGE(detached.status == 0, detached.err);
  guest.await("! grep -qx com.example.test /sys/class/virtio-ports/*/name");
  struct stat status {};
  CHECK(::stat(socket.c_str(), &status) != 0);
  CHECK(guard.vmrig_json({"status", "plug", "--json"}).at("channels").empty());
  // The controller stays; the same channel fits again.
  CHECK(guard.vmrig({"attach", "plug", "channel", R"({"name": "com.example.test", "id": "c0"})"})
            .status == 0);
  CHECK(guard.vmrig({"stop", "plug"}).status == 0);
  CHECK(guard.nothing_left());
}

TEST_CASE("an agent that sends garbage without end costs the waiting supervisor no memory") {
  NEED_GUEST();
  VmGuard guard;
  Json config = with_agent(guest_config(guard, "garbage", "vmrig.agent=garbage"));
  RunningCommand start(
      guard.request({"start", guard.write_config(config), "--wait=agent", "--timeout", "60"}));
  GuestConsole guest([&] {
    const std::string socket = guard.state_dir() + "/garbage/console.sock";
    REQUIRE(eventually([&socket] { return ::access(socket.c_str(), F_OK) == 0; }));
    return socket;
  }());
  guest.await("test -e /run/agent.flooding");
  const Json listed = guard.vmrig_json({"list", "--json"});
  REQUIRE(listed.is_array());
  const auto supervisor = listed.at(0).at("supervisor").get<pid_t>();
  const std::size_t before = resident_bytes(supervisor);
  // While megabytes come, it answers others at once.
  for (int i = 0; i < 20; ++i) {
    const CommandResult status = guard.vmrig({"qmp", "garbage", "query-status"});
    CHECK_MESSAGE(status.status == 0, status.err);
    CHECK(status.took < std::chrono::seconds(5));
  }
  guest.await("test $(cat /run/agent.flooding) -ge 2");
  MESSAGE("supervisor: " << before / 1024 << " KiB before, " << peak_bytes(supervisor) / 1024
                         << " KiB at most");
  CHECK(peak_bytes(supervisor) < before + (std::size_t{1} << 20));
  start.send_signal(SIGINT);
  CHECK(start.wait().status == 130);
  // The guest goes on; who has interrupted the wait stops it.
  const CommandResult stopped = guard.vmrig({"stop", "garbage", "--force"});
  CHECK_MESSAGE(stopped.status == 0, stopped.err);
  CHECK(guard.nothing_left());
}

}  // namespace
