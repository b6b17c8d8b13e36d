// vmrig as a service: what it tells the manager, and what it keeps from QEMU.
#include <doctest/doctest.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "tests/support/fake_manager.hpp"
#include "tests/support/guest.hpp"
#include "tests/support/skip.hpp"
#include "tests/support/temp_folder.hpp"
#include "tests/support/vm_guard.hpp"

namespace {

using namespace vmrig;
using namespace vmrig::testing;

#define NEED_QEMU() \
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64")

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string state_of(const VmGuard& guard, const std::string& name) {
  const Json status = guard.vmrig_json({"status", name, "--json"});
  return status.is_object() ? status.at("state").get<std::string>() : "none";
}

pid_t supervisor_of(const VmGuard& guard, const std::string& name) {
  return guard.vmrig_json({"status", name, "--json"}).at("supervisor").get<pid_t>();
}

TEST_CASE("run tells its manager when the guest runs, that it is alive, and when it stops") {
  NEED_QEMU();
  VmGuard guard;
  const FakeManager manager(guard.folder() / "notify");
  guard.set_environment("NOTIFY_SOCKET", manager.address());
  guard.set_environment("WATCHDOG_USEC", "200000");
  RunningCommand run(guard.request({"run", guard.write_config(guard.config("s"))}));
  const std::string ready = manager.wait_for("READY=1");
  CHECK(contains(ready, "STATUS=s running"));
  CHECK_FALSE(contains(ready, "MAINPID"));
  // "runs" was printed before.
  CHECK(run.wait_for_err("runs", std::chrono::seconds(5)));
  for (int i = 0; i < 5; ++i) CHECK(manager.wait_for("WATCHDOG=1") == "WATCHDOG=1");
  // One that hangs gives no sign of life.
  run.send_signal(SIGSTOP);
  while (!manager.wait_for("WATCHDOG=1", std::chrono::milliseconds(300)).empty()) {
  }
  run.send_signal(SIGCONT);
  CHECK_FALSE(manager.wait_for("WATCHDOG=1").empty());

  CHECK(guard.vmrig({"pause", "s"}).status == 0);
  CHECK_FALSE(manager.wait_for("STATUS=s paused").empty());
  // QEMU is no part of that talk.
  REQUIRE(guard.qemus().size() == 1);
  const std::string environment =
      read_text("/proc/" + std::to_string(guard.qemus().front()) + "/environ");
  CHECK_FALSE(contains(environment, "NOTIFY_SOCKET"));
  CHECK_FALSE(contains(environment, "WATCHDOG_USEC"));

  run.send_signal(SIGTERM);
  CHECK(contains(manager.wait_for("STOPPING=1"), "EXTEND_TIMEOUT_USEC="));
  CHECK(run.wait().status == 0);
  CHECK_FALSE(manager.wait_for("STATUS=s ended: ").empty());
  CHECK(guard.nothing_left());
}

TEST_CASE("start names the process that is the service from now on") {
  NEED_QEMU();
  VmGuard guard;
  const FakeManager manager("@vmrig-test-" + guard.folder().path());
  guard.set_environment("NOTIFY_SOCKET", manager.address());
  REQUIRE(guard.vmrig({"start", guard.write_config(guard.config("d"))}).status == 0);
  const pid_t supervisor = supervisor_of(guard, "d");
  CHECK(contains(manager.wait_for("READY=1"), "MAINPID=" + std::to_string(supervisor)));
  CHECK(guard.vmrig({"stop", "d", "--force"}).status == 0);
  CHECK_FALSE(manager.wait_for("STOPPING=1").empty());
  CHECK(guard.nothing_left());
}

TEST_CASE("a VM that does not start is never called ready") {
  NEED_QEMU();
  VmGuard guard;
  const FakeManager manager(guard.folder() / "notify");
  guard.set_environment("NOTIFY_SOCKET", manager.address());
  Json config = guard.config("f");
  config["qemu_args"] = {"-no-such-option"};
  CHECK(guard.vmrig({"run", guard.write_config(config)}).status == 4);
  CHECK(manager.wait_for("READY=1", std::chrono::milliseconds(0)).empty());
  CHECK(guard.nothing_left());
}

TEST_CASE("run takes over the VM whose supervisor was killed, as a restarted service does") {
  NEED_QEMU();
  VmGuard guard;
  Json config = guard.config("o");
  config["power"]["on_supervisor_exit"] = "keep";
  const std::string file = guard.write_config(config);
  pid_t qemu = -1;
  {
    RunningCommand first(guard.request({"run", "--take-over", file}));
    REQUIRE(first.wait_for_err("runs"));
    qemu = guard.qemus().front();
    first.send_signal(SIGKILL);
    first.wait();
  }
  REQUIRE(eventually([&] { return state_of(guard, "o") == "orphaned"; }));
  CHECK(guard.vmrig({"run", file}).status == 6);
  const FakeManager manager(guard.folder() / "notify");
  guard.set_environment("NOTIFY_SOCKET", manager.address());
  RunningCommand second(guard.request({"run", "--take-over", file}));
  CHECK(second.wait_for_err("whose supervisor was killed"));
  CHECK_FALSE(manager.wait_for("READY=1").empty());
  CHECK(guard.qemus() == std::vector<pid_t>{qemu});
  CHECK(state_of(guard, "o") == "running");
  second.send_signal(SIGTERM);
  const CommandResult& result = second.wait();
  CHECK_MESSAGE(result.status == 0, result.err);
  CHECK(guard.nothing_left());
}

TEST_CASE("the unit in examples is one that systemd takes") {
  const CommandResult there =
      run_command({.argv = {"systemd-analyze", "--version"}, .environment = {}, .input = {}});
  if (there.status != 0) SKIP_TEST("no systemd-analyze");
  const TempFolder folder;
  const std::string text = read_text(source_folder() + "/examples/systemd/vmrig@.service");
  REQUIRE_FALSE(text.empty());
  // It asks whether the program is there.
  std::string unit = text;
  const std::string installed = "/usr/bin/vmrig";
  for (std::size_t at = unit.find(installed); at != std::string::npos;
       at = unit.find(installed, at + 1)) {
    unit.replace(at, installed.size(), vmrig_program());
  }
  write_text(folder / "vmrig@.service", unit);
  const CommandResult verified =
      run_command({.argv = {"systemd-analyze", "verify", "--man=no", folder / "vmrig@vm1.service"},
                   .environment = {},
                   .input = {}});
  CHECK(verified.status == 0);
  std::istringstream lines(verified.err);
  for (std::string line; std::getline(lines, line);) {
    // One before 254 says this, and goes on.
    if (contains(line, "Unknown key 'DelegateSubgroup'")) continue;
    CHECK_FALSE_MESSAGE(contains(line, "vmrig@"), line);
  }
}

TEST_CASE("as PID 1 of a container run passes INT on, and tells how the VM ended") {
  NEED_GUEST();
  VmGuard guard;
  const CommandRequest probe{.argv = {"unshare", "--pid", "--fork", "--mount-proc", "true"},
                             .environment = {},
                             .input = {}};
  if (run_command(probe).status != 0) SKIP_TEST("unshare --pid is not allowed");
  const auto in_container = [&guard](const Json& config) {
    CommandRequest request = guard.request({"run", guard.write_config(config)});
    request.argv.insert(request.argv.begin(),
                        {"unshare", "--pid", "--fork", "--mount-proc", "--kill-child"});
    request.deadline = 2 * kGuestBootTime;
    return request;
  };
  // A container's own status is the VM's.
  CHECK(run_command(in_container(guest_config(guard, "c", "vmrig.panic"))).status == 1);
  CHECK(run_command(in_container(guest_config(guard, "c", "vmrig.autopoweroff"))).status == 0);

  RunningCommand run(in_container(guest_config(guard, "c")));
  REQUIRE(run.wait_for_err("runs", kGuestBootTime));
  CommandRequest watch = guard.request({"console", "c", "--timeout", "90"});
  watch.deadline = kGuestBootTime;
  RunningCommand console(watch);
  REQUIRE(console.wait_for_out(kGuestGreeting, kGuestBootTime));
  const std::string id = std::to_string(run.pid());
  const std::string inner = read_text("/proc/" + id + "/task/" + id + "/children");
  ::kill(static_cast<pid_t>(std::strtol(inner.c_str(), nullptr, 10)), SIGINT);
  const CommandResult& result = run.wait();
  CHECK_MESSAGE(result.status == 0, result.err);
  CHECK(contains(result.err, "stopped by powerdown"));
  CHECK(guard.nothing_left());
}

}  // namespace
