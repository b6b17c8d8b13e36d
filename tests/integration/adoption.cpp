// A supervisor is killed, its QEMU lives on, and recover gives it a new one.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/socket.h>

#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "qmp/unix_socket.hpp"
#include "tests/support/guest_console.hpp"
#include "tests/support/held_at_exit.hpp"
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

// Whether `watcher` has a pidfd of `pid`. Source: pidfd_open(2); proc(5), /proc/PID/fdinfo.
bool watches(pid_t watcher, pid_t pid) {
  std::error_code error;
  const std::string folder = fmt::format("/proc/{}/fdinfo", watcher);
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string text = read_text(entry.path().string());
    if (text.find(fmt::format("\nPid:\t{}\n", pid)) != std::string::npos) return true;
  }
  return false;
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

TEST_CASE("recover waits for a supervisor that has been killed and is not gone yet") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  VmGuard guard;
  REQUIRE(guard.vmrig({"start", guard.write_config(guard.config("v"))}).status == 0);
  const auto supervisor = listed(guard, "v").at("supervisor").get<pid_t>();
  HeldAtExit held(supervisor);
  if (!held.is_traced()) SKIP_TEST("no right to trace");
  REQUIRE(held.kill());
  // It has its lock still.
  CHECK(state_of(guard, "v") == "running");
  RunningCommand recover(guard.request({"recover", "--json"}));
  CHECK(eventually([&] { return watches(recover.pid(), supervisor); }));
  held.let_go();
  const CommandResult& recovered = recover.wait();
  CHECK_MESSAGE(recovered.status == 0, recovered.err);
  CHECK(Json::parse(recovered.out, nullptr, false).value("adopted", Json::array()).size() == 1);
  CHECK(state_of(guard, "v") == "running");
  CHECK(listed(guard, "v").at("supervisor") != Json(supervisor));
  CHECK(guard.vmrig({"stop", "v", "--force"}).status == 0);
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

TEST_CASE("a guest feels nothing of its supervisor's death, and has a new one within a second") {
  NEED_GUEST();
  VmGuard guard;
  Json config = guest_config(guard, "g", "");
  for (const char* name : {"own.raw", "hot.raw"}) {
    write_text(guard.folder() / name, std::string(1 << 20, '\0'));
  }
  config["disks"] =
      Json::array({{{"id", "d0"}, {"path", guard.folder() / "own.raw"}, {"format", "raw"}}});
  REQUIRE(guard.vmrig({"start", guard.write_config(config)}).status == 0);
  // Another one that wants the same disk.
  Json rival = guard.config("rival");
  rival["disks"] = config["disks"];
  const std::string rival_path = guard.write_config(rival);
  const auto check_claimed = [&](const char* when) {
    CAPTURE(when);
    const CommandResult refused = guard.vmrig({"plan", "--json", rival_path});
    CHECK_MESSAGE(refused.out.find("is in use by VM \\\"g\\\"") != std::string::npos, refused.out);
  };
  const std::string console = guard.state_dir() + "/g/console.sock";
  std::string boot;
  double uptime = 0;
  {
    GuestConsole guest(console);
    boot = guest.run("cat /proc/sys/kernel/random/boot_id");
    // A clock in the guest that tells of a pause.
    guest.run(
        "(while :; do cut -d' ' -f1 /proc/uptime >> /tmp/ticks; sleep 0.1; done) >/dev/null &");
    uptime = std::stod(guest.run("cut -d' ' -f1 /proc/uptime"));
  }
  check_claimed("before");
  kill_supervisor(guard, "g");
  check_claimed("while nobody supervises");
  const CommandResult recovered = guard.vmrig({"recover"});
  CHECK_MESSAGE(recovered.status == 0, recovered.err);
  CHECK_MESSAGE(recovered.took < std::chrono::seconds(1), recovered.took.count() << " ms");
  MESSAGE("a new supervisor in " << recovered.took.count() << " ms");
  check_claimed("under the new one");
  {
    GuestConsole guest(console, kGuestBootTime, GuestConsole::Shell::kIsSilent);
    CHECK(guest.run("cat /proc/sys/kernel/random/boot_id") == boot);
    CHECK(std::stod(guest.run("cut -d' ' -f1 /proc/uptime")) > uptime);
    const std::string longest = guest.run(
        "awk 'NR > 1 && $1 - last > most { most = $1 - last } { last = $1 } END { print most }' "
        "/tmp/ticks");
    MESSAGE("the longest between two ticks of 0.1 s in the guest: " << longest << " s");
    const std::string disk =
        Json{{"id", "d1"}, {"path", guard.folder() / "hot.raw"}, {"format", "raw"}}.dump();
    const CommandResult attached = guard.vmrig({"attach", "g", "disk", disk});
    CHECK_MESSAGE(attached.status == 0, attached.err);
    CHECK_NOTHROW(guest.await("test -b /dev/vdb"));
    const CommandResult detached = guard.vmrig({"detach", "g", "d1"});
    CHECK_MESSAGE(detached.status == 0, detached.err);
    CHECK_NOTHROW(guest.await("test ! -b /dev/vdb"));
  }
  CHECK(guard.vmrig({"stop", "g"}).status == 0);
  CHECK(guard.nothing_left());
}

TEST_CASE("a new supervisor keeps every kind of device that a VM was started with") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  VmGuard guard;
  Json config = guard.config("all");
  write_text(guard.folder() / "a.raw", std::string(1 << 20, '\0'));
  write_text(guard.folder() / "b.raw", std::string(1 << 20, '\0'));
  write_text(guard.folder() / "c.raw", std::string(1 << 20, '\0'));
  const auto path = [&guard](const char* name) { return guard.folder() / name; };
  config["memory"] = {{"size", "128MiB"},
                      {"max", "1GiB"},
                      {"devices",
                       {{{"id", "m0"}, {"size", "128MiB"}},
                        {{"id", "m1"}, {"size", "256MiB"}, {"kind", "virtio-mem"}}}}};
  config["disks"] = {{{"id", "d0"}, {"path", path("a.raw")}, {"format", "raw"}},
                     {{"id", "d1"}, {"path", path("b.raw")}, {"format", "raw"}, {"bus", "scsi"}}};
  config["nics"] = {{{"id", "n0"}, {"type", "user"}},
                    {{"id", "n1"}, {"type", "user"}, {"model", "e1000e"}},
                    {{"id", "n2"}, {"type", "none"}}};
  config["usb"] = {{{"id", "u0"}, {"type", "tablet"}},
                   {{"id", "u1"}, {"type", "storage"}, {"path", path("c.raw")}}};
  config["rngs"] = {{{"id", "r0"}}};
  const CommandResult started = guard.vmrig({"start", "--paused", guard.write_config(config)});
  REQUIRE_MESSAGE(started.status == 0, started.err);
  const Json before = guard.vmrig_json({"status", "all", "--json"});
  const Json devices_before =
      guard.vmrig_json({"qmp", "all", "qom-list", R"({"path": "/machine/peripheral"})"});
  const Json nodes_before = guard.vmrig_json({"qmp", "all", "query-named-block-nodes"});
  kill_supervisor(guard, "all");
  REQUIRE(guard.vmrig({"recover"}).status == 0);
  const Json after = guard.vmrig_json({"status", "all", "--json"});
  for (const char* key : {"disks", "nics", "usb", "rngs"}) {
    CHECK_MESSAGE(after.at("config").at(key) == before.at("config").at(key), key);
  }
  CHECK(after.at("config").at("memory").at("devices").size() == 2);
  CHECK(after.at("claim") == before.at("claim"));
  CHECK(guard.vmrig_json({"qmp", "all", "qom-list", R"({"path": "/machine/peripheral"})"}) ==
        devices_before);
  CHECK(guard.vmrig_json({"qmp", "all", "query-named-block-nodes"}).size() == nodes_before.size());
  CHECK(read_text(guard.state_dir() + "/all/vmrig.log").find("is not settled") ==
        std::string::npos);
  CHECK(guard.vmrig({"stop", "all", "--force"}).status == 0);
  CHECK(guard.nothing_left());
}

}  // namespace
