// A supervisor is killed, its QEMU lives on, and recover gives it a new one.
#include <doctest/doctest.h>
#include <sys/socket.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <string>

#include "qmp/unix_socket.hpp"
#include "tests/support/guest_console.hpp"
#include "tests/support/skip.hpp"
#include "tests/support/vm_guard.hpp"

namespace {

using namespace vmrig;
using namespace vmrig::testing;

Json listed(const VmGuard& guard, const std::string& name) {
  const Json all = guard.vmrig_json({"list", "--json"});
  for (const Json& vm : all) {
    if (vm.at("name") == name) return vm;
  }
  return nullptr;
}

std::string state_of(const VmGuard& guard, const std::string& name) {
  const Json vm = listed(guard, name);
  return vm.is_object() ? vm.at("state").get<std::string>() : std::string();
}

// Kills the VM's supervisor, and waits until that is seen.
void kill_supervisor(const VmGuard& guard, const std::string& name) {
  const auto supervisor = listed(guard, name).at("supervisor").get<pid_t>();
  REQUIRE(::kill(supervisor, SIGKILL) == 0);
  REQUIRE(eventually([&] { return state_of(guard, name) == "orphaned"; }));
}

// Leaves commands under way whose long replies nobody reads.
qmp::Fd flood(const std::string& socket) {
  qmp::Fd client = qmp::connect_unix(socket, qmp::deadline_in(std::chrono::seconds(10)));
  std::string text = R"({"execute": "qmp_capabilities"})";
  for (int i = 0; i < 200; ++i) text += R"({"execute": "query-qmp-schema", "id": "v-1"})";
  CHECK(::send(client.get(), text.data(), text.size(), MSG_NOSIGNAL) ==
        static_cast<ssize_t>(text.size()));
  return client;
}

TEST_CASE("recover gives a VM whose supervisor was killed a new one") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  VmGuard guard;
  Json config = guard.config("v");
  const std::string image = guard.folder() / "d.raw";
  write_text(image, std::string(1 << 20, '\0'));
  REQUIRE(guard.vmrig({"start", guard.write_config(config)}).status == 0);
  const Json before = guard.vmrig_json({"status", "v", "--json"});
  const qmp::Fd client = flood(guard.state_dir() + "/v/qmp.sock");
  kill_supervisor(guard, "v");

  const Json recovered = guard.vmrig_json({"recover", "--json"});
  REQUIRE(recovered.is_object());
  REQUIRE(recovered.at("adopted").size() == 1);
  CHECK(recovered.at("adopted")[0].at("name") == "v");
  CHECK(recovered.at("problems").empty());
  const Json after = guard.vmrig_json({"status", "v", "--json"});
  CHECK(after.at("state") == "running");
  CHECK(after.at("qemu") == before.at("qemu"));
  CHECK(after.at("claim") == before.at("claim"));
  CHECK(after.at("supervisor") != before.at("supervisor"));

  // Commands, events and hotplug go on, each reply to who has asked.
  for (int i = 0; i < 20; ++i) {
    CHECK(guard.vmrig_json({"qmp", "v", "query-status"}).at("running") == Json(true));
  }
  CHECK(guard.vmrig({"pause", "v"}).status == 0);
  CHECK(eventually([&] { return state_of(guard, "v") == "paused"; }));
  CHECK(guard.vmrig({"resume", "v"}).status == 0);
  CHECK(eventually([&] { return state_of(guard, "v") == "running"; }));
  const CommandResult attached = guard.vmrig(
      {"attach", "v", "disk", Json{{"id", "d1"}, {"path", image}, {"format", "raw"}}.dump()});
  CHECK_MESSAGE(attached.status == 0, attached.err);

  // A second recover finds nothing to do; and it works once more.
  CHECK(guard.vmrig_json({"recover", "--json"}).at("adopted").empty());
  kill_supervisor(guard, "v");
  CHECK(guard.vmrig({"recover"}).status == 0);
  CHECK(guard.vmrig_json({"status", "v", "--json"}).at("config").at("disks").size() == 1);

  const CommandResult stopped = guard.vmrig({"stop", "v", "--force"});
  CHECK_MESSAGE(stopped.status == 0, stopped.err);
  CHECK(guard.nothing_left());
}

TEST_CASE("a VM that was paused stays so, and one whose QEMU ends then is over") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  VmGuard guard;
  REQUIRE(guard.vmrig({"start", "--paused", guard.write_config(guard.config("p"))}).status == 0);
  kill_supervisor(guard, "p");
  REQUIRE(guard.vmrig({"recover"}).status == 0);
  CHECK(state_of(guard, "p") == "paused");
  // The end of a process is told to its parent alone: this one was killed, and nobody knows why.
  const auto qemu = listed(guard, "p").at("pid").get<pid_t>();
  REQUIRE(::kill(qemu, SIGKILL) == 0);
  CHECK(eventually([&] { return state_of(guard, "p") == "crashed"; }));
  CHECK(guard.vmrig({"start", "--paused", guard.write_config(guard.config("p"))}).status == 0);
  CHECK(guard.vmrig({"stop", "p", "--force"}).status == 0);
  CHECK(guard.nothing_left());
}

TEST_CASE(
    "a guest goes on while its supervisor changes, and what it unplugged meanwhile is finished") {
  NEED_GUEST();
  VmGuard guard;
  Json config = guest_config(guard, "g", "");
  const std::string image = guard.folder() / "d.raw";
  write_text(image, std::string(1 << 20, '\0'));
  REQUIRE(guard.vmrig({"start", guard.write_config(config)}).status == 0);
  const std::string console = guard.state_dir() + "/g/console.sock";
  {
    GuestConsole guest(console);
    const std::string disk = Json{{"id", "d1"}, {"path", image}, {"format", "raw"}}.dump();
    REQUIRE(guard.vmrig({"attach", "g", "disk", disk}).status == 0);
    guest.await("test -b /dev/vda");
    guest.run("echo before > /tmp/mark");
  }
  // Asked to unplug while it stands still: the guest gets to it when nobody supervises.
  REQUIRE(guard.vmrig({"pause", "g"}).status == 0);
  CHECK(guard.vmrig({"detach", "g", "d1", "--timeout", "0.5"}).status == 124);
  kill_supervisor(guard, "g");
  CHECK(guard.vmrig({"qmp", "g", "cont"}).status == 0);
  const auto gone = [&] {
    const Json devices =
        guard.vmrig_json({"qmp", "g", "qom-list", R"({"path": "/machine/peripheral"})"});
    if (!devices.is_array()) return false;
    for (const Json& device : devices) {
      if (device.at("name") == "d1") return false;
    }
    return true;
  };
  CHECK(eventually(gone, std::chrono::seconds(30)));

  REQUIRE(guard.vmrig({"recover"}).status == 0);
  CHECK(eventually([&] {
    const Json status = guard.vmrig_json({"status", "g", "--json"});
    return status.at("pending_unplugs").empty() && status.at("config").at("disks").empty();
  }));
  const Json nodes = guard.vmrig_json({"qmp", "g", "query-named-block-nodes"});
  CHECK(nodes.empty());
  {
    GuestConsole guest(console, kGuestBootTime, GuestConsole::Shell::kIsSilent);
    CHECK(guest.run("cat /tmp/mark") == "before");
    CHECK_NOTHROW(guest.run("test ! -b /dev/vda"));
  }
  const Json stopped = guard.vmrig_json({"stop", "g", "--json"});
  REQUIRE(stopped.is_object());
  CHECK(stopped.at("by") == Json("powerdown"));
  CHECK(guard.nothing_left());
}

}  // namespace
