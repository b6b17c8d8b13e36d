// A real guest powers off, reboots, panics or hangs, and what follows is what the config says; with
// each QEMU there is.
#include <doctest/doctest.h>

#include <csignal>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/full_run.hpp"
#include "tests/support/guest.hpp"
#include "tests/support/guest_console.hpp"
#include "tests/support/skip.hpp"
#include "tests/support/vm_guard.hpp"

namespace {

using namespace vmrig;
using namespace vmrig::testing;

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

enum class PowerOffKept { kMay, kBootsAgain };

// Each QEMU that is here, "" for the system's; in an ordinary run one of them, the next each time.
std::vector<std::string> qemus(PowerOffKept kept = PowerOffKept::kMay) {
  std::vector<std::string> all = {""};
  if (const char* path = std::getenv("VMRIG_QEMU10")) all.emplace_back(path);  // NOLINT
  // A guest that was powered off and reset comes no further than its reset vector in 5.2 under TCG.
  const char* old = std::getenv("VMRIG_QEMU52");  // NOLINT
  if (old != nullptr && kept == PowerOffKept::kMay) all.emplace_back(old);
  if (is_full_run()) return all;
  static std::size_t turn = 0;
  return {all.at(turn++ % all.size())};
}

Json config_with(const VmGuard& guard, const std::string& qemu, const std::string& parameters,
                 const Json& power) {
  Json config = guest_config(guard, "end", parameters);
  if (!qemu.empty()) config["qemu"] = qemu;
  config["power"].update(power);
  return config;
}

CommandResult run(const VmGuard& guard, const Json& config) {
  CommandRequest request = guard.request({"run", guard.write_config(config)});
  request.deadline = 3 * kGuestBootTime;
  return run_command(std::move(request));
}

void start(const VmGuard& guard, const Json& config) {
  const CommandResult result = guard.vmrig({"start", guard.write_config(config)});
  REQUIRE_MESSAGE(result.status == 0, result.err);
}

Json status(const VmGuard& guard) { return guard.vmrig_json({"status", "end", "--json"}); }

bool becomes(const VmGuard& guard, const std::string& state, const std::string& reason) {
  return eventually(
      [&] {
        const Json now = status(guard);
        return now.is_object() && now.at("state") == state && now.at("reason") == reason;
      },
      kGuestBootTime);
}

std::string stop(const VmGuard& guard) {
  const Json stopped = guard.vmrig_json({"stop", "end", "--json"});
  return stopped.is_object() ? stopped.at("by").get<std::string>() : "nothing";
}

std::string console_of(const VmGuard& guard) { return guard.state_dir() + "/end/console.sock"; }

TEST_CASE("a guest's panic ends the VM with status 1") {
  NEED_GUEST();
  for (const std::string& qemu : qemus()) {
    CAPTURE(qemu);
    VmGuard guard;
    const CommandResult result =
        run(guard, config_with(guard, qemu, "vmrig.panic", Json::object()));
    CHECK_MESSAGE(result.status == 1, result.err);
    CHECK(contains(result.err, "the guest panicked"));
    CHECK(guard.nothing_left());
  }
}

TEST_CASE("a guest that has panicked can be kept as it is, and stop ends it at once") {
  NEED_GUEST();
  for (const std::string& qemu : qemus()) {
    CAPTURE(qemu);
    VmGuard guard;
    start(guard, config_with(guard, qemu, "vmrig.panic", {{"on_crash", "preserve"}}));
    CHECK(becomes(guard, "paused", "the guest panicked"));
    CHECK(status(guard).at("live").at("qemu_status") == "guest-panicked");
    CHECK(stop(guard) == "quit");  // nobody is there to press the power button for
    CHECK(guard.nothing_left());
  }
}

TEST_CASE("a guest that panics is started anew, but not without end") {
  NEED_GUEST();
  for (const std::string& qemu : qemus()) {
    CAPTURE(qemu);
    VmGuard guard;
    const CommandResult result = run(
        guard,
        config_with(guard, qemu, "vmrig.panic", {{"on_crash", "restart"}, {"max_restarts", 1}}));
    CHECK_MESSAGE(result.status == 1, result.err);
    CHECK(contains(result.err, "the guest panicked; started anew after 1 s, time 1 of 1"));
    CHECK(contains(result.err, "given up after 1 restart in a row"));
    CHECK(guard.nothing_left());
  }
}

TEST_CASE("a reboot ends the VM where that is asked, and is none of vmrig's business else") {
  NEED_GUEST();
  for (const std::string& qemu : qemus()) {
    CAPTURE(qemu);
    VmGuard guard;
    const CommandResult result =
        run(guard, config_with(guard, qemu, "vmrig.reboot", {{"on_reboot", "destroy"}}));
    CHECK_MESSAGE(result.status == 0, result.err);
    CHECK(contains(result.err, "the guest rebooted"));
    CHECK(guard.nothing_left());
  }
  VmGuard guard;
  start(guard, config_with(guard, "", "", Json::object()));
  const Json before = status(guard);
  {
    GuestConsole guest(console_of(guard));
    (void)guest.ask("(usleep 200000; reboot -f) >/dev/null 2>&1 &");
    guest.wait_for(kGuestGreeting);
  }
  CHECK(status(guard).at("pid") == before.at("pid"));
  CHECK(status(guard).at("restarts") == 0);
  CHECK(stop(guard) == "powerdown");
  CHECK(guard.nothing_left());
}

TEST_CASE("a guest that powers off is started anew, and its console goes on") {
  NEED_GUEST();
  for (const std::string& qemu : qemus()) {
    CAPTURE(qemu);
    VmGuard guard;
    start(guard, config_with(guard, qemu, "", {{"on_poweroff", "restart"}}));
    const Json before = status(guard);
    {
      GuestConsole guest(console_of(guard));
      (void)guest.ask("(usleep 200000; poweroff -f) >/dev/null 2>&1 &");
      guest.wait_for(kGuestGreeting);  // on the same connection
      CHECK(guest.run("echo anew") == "anew");
    }
    const Json after = status(guard);
    CHECK(after.at("state") == "running");
    CHECK(after.at("restarts") == 1);
    CHECK(after.at("last_end") == "the guest powered off");
    CHECK(after.at("pid") != before.at("pid"));
    CHECK(after.at("supervisor") == before.at("supervisor"));
    CHECK(guard.qemus().size() == 1);
    const CommandResult shown = guard.vmrig({"status", "end"});
    CHECK(contains(shown.out, "1; before the last: the guest powered off"));
    // Asked by `stop`, the same power-off is the end.
    CHECK(stop(guard) == "powerdown");
    CHECK(guard.nothing_left());
  }
}

TEST_CASE("a guest that has powered off can be kept, booted again, and stopped in order") {
  NEED_GUEST();
  for (const std::string& qemu : qemus(PowerOffKept::kBootsAgain)) {
    CAPTURE(qemu);
    VmGuard guard;
    start(guard, config_with(guard, qemu, "", {{"on_poweroff", "preserve"}}));
    {
      GuestConsole guest(console_of(guard));
      (void)guest.ask("(usleep 200000; poweroff -f) >/dev/null 2>&1 &");
      CHECK(becomes(guard, "paused", "the guest powered off"));
      CHECK(guard.vmrig({"resume", "end"}).status != 0);  // QEMU wants a reset first
      CHECK(guard.vmrig({"reset", "end"}).status == 0);
      CHECK(guard.vmrig({"resume", "end"}).status == 0);
      guest.wait_for(kGuestGreeting);
      CHECK(guest.run("echo up") == "up");
    }
    // QEMU stands still after this one, too; the ladder ends it.
    CHECK(stop(guard) == "powerdown");
    CHECK(guard.nothing_left());
  }
}

TEST_CASE("a watchdog ends a guest that hangs, and that is a crash") {
  NEED_GUEST();
  for (const std::string& qemu : qemus()) {
    CAPTURE(qemu);
    VmGuard guard;
    Json config = config_with(guard, qemu, "vmrig.watchdog", Json::object());
    config["watchdog"] = {{"model", "i6300esb"}, {"action", "poweroff"}};
    const CommandResult result = run(guard, config);
    CHECK_MESSAGE(result.status == 1, result.err);
    CHECK(contains(result.err, "its watchdog expired"));
    CHECK(guard.nothing_left());
  }
}

TEST_CASE("a watchdog pauses or resets a guest that hangs, whichever card it is") {
  NEED_GUEST();
  for (const std::string& qemu : qemus()) {
    CAPTURE(qemu);
    VmGuard guard;
    Json config = config_with(guard, qemu, "vmrig.watchdog", Json::object());
    config["watchdog"] = {{"model", "i6300esb"}, {"action", "pause"}};
    start(guard, config);
    CHECK(becomes(guard, "paused", "its watchdog expired"));
    CHECK(guard.vmrig({"stop", "end", "--force"}).status == 0);
    CHECK(guard.nothing_left());

    config["watchdog"] = {{"model", "itco"}, {"action", "reset"}};
    start(guard, config);
    {
      GuestConsole guest(console_of(guard));
      guest.wait_for(kGuestGreeting);  // the second one
    }
    CHECK(guard.vmrig({"stop", "end", "--force"}).status == 0);

    config = config_with(guard, qemu, "", Json::object());
    config["machine"]["type"] = "pc";  // a q35 has its own at /dev/watchdog
    config["watchdog"] = {{"model", "ib700"}, {"action", "reset"}};
    start(guard, config);
    {
      GuestConsole guest(console_of(guard));
      guest.run("modprobe ib700wdt");
      (void)guest.ask("watchdog -T 4 -t 600 /dev/watchdog");
      guest.wait_for(kGuestGreeting);
    }
    CHECK(guard.vmrig({"stop", "end", "--force"}).status == 0);
    CHECK(guard.nothing_left());
  }
}

TEST_CASE("a VM that is started anew has the devices that it had, and none that had gone") {
  NEED_GUEST();
  VmGuard guard;
  Json config = config_with(guard, "", "", {{"on_poweroff", "restart"}});
  for (const char* name : {"stays", "goes", "comes"}) {
    write_text(guard.folder() / name, std::string(1 << 20, name[0]));
  }
  const auto disk = [&guard](const std::string& name) {
    return Json{{"id", name}, {"path", guard.folder() / name}, {"format", "raw"}};
  };
  config["disks"] = {disk("stays"), disk("goes")};
  config["cpu"] = {{"vcpus", 1}, {"max_vcpus", 2}};
  start(guard, config);
  GuestConsole guest(console_of(guard));
  guest.await("test -b /dev/vdb");
  REQUIRE(guard.vmrig({"attach", "end", "disk", disk("comes").dump()}).status == 0);
  REQUIRE(guard.vmrig({"attach", "end", "nic", R"({"id": "net1", "type": "user"})"}).status == 0);
  REQUIRE(guard.vmrig({"attach", "end", "channel", R"({"name": "a.b"})"}).status == 0);
  REQUIRE(guard.vmrig({"set", "end", "vcpus=2"}).status == 0);
  const CommandResult detached = guard.vmrig({"detach", "end", "goes"});
  REQUIRE_MESSAGE(detached.status == 0, detached.err);
  const Json before = status(guard).at("config");

  (void)guest.ask("(usleep 200000; poweroff -f) >/dev/null 2>&1 &");
  guest.wait_for(kGuestGreeting);
  CHECK(guest.run("for d in /dev/vd?; do head -c1 $d; echo; done | sort | tr -d '\\n'") == "cs");
  guest.await("test -e /sys/class/net/eth0");
  CHECK(guest.run("cat /sys/class/virtio-ports/*/name") == "a.b");
  guest.await("test $(grep -c ^processor /proc/cpuinfo) = 2");
  const Json now = status(guard);
  CHECK(now.at("config") == before);
  CHECK(now.at("restarts") == 1);
  // They can go, as before.
  CHECK(guard.vmrig({"detach", "end", "comes"}).status == 0);
  CHECK(guard.vmrig({"detach", "end", "a.b"}).status == 0);
  CHECK(stop(guard) == "powerdown");
  CHECK(guard.nothing_left());
}

TEST_CASE(
    "a supervisor that took a VM over starts it anew, too; one killed at that leaves nothing") {
  NEED_GUEST();
  VmGuard guard;
  start(guard, config_with(guard, "", "", {{"on_crash", "restart"}}));
  REQUIRE(::kill(status(guard).at("supervisor").get<pid_t>(), SIGKILL) == 0);
  REQUIRE(eventually([&] { return status(guard).at("state") == "orphaned"; }));
  REQUIRE(guard.vmrig({"recover"}).status == 0);
  REQUIRE(::kill(guard.qemus().front(), SIGKILL) == 0);
  CHECK(eventually([&] {
    const Json now = status(guard);
    return now.at("restarts") == 1 && now.at("state") == "running";
  }));
  // The crash that kills both is nobody's to mend but recover's.
  const auto supervisor = status(guard).at("supervisor").get<pid_t>();
  REQUIRE(::kill(guard.qemus().front(), SIGKILL) == 0);
  REQUIRE(eventually([&] { return status(guard).at("state") == "restarting"; }));
  CHECK(contains(guard.vmrig({"list"}).out, "restarting"));
  REQUIRE(::kill(supervisor, SIGKILL) == 0);
  CHECK(eventually([&] { return status(guard).at("state") == "stale"; }));
  CHECK(guard.vmrig({"recover"}).status == 0);
  CHECK(guard.nothing_left());
}

}  // namespace
