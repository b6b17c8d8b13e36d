// start, list, status, pause, resume, reset, stop: VMs without a guest OS.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <csignal>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>

#include "tests/support/skip.hpp"
#include "tests/support/vm_guard.hpp"

namespace {

using namespace vmrig;
using namespace vmrig::testing;

#define NEED_QEMU() \
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64")

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

void start(const VmGuard& guard, const Json& config) {
  const CommandResult result = guard.vmrig({"start", guard.write_config(config)});
  REQUIRE_MESSAGE(result.status == 0, result.err);
  // A start in $(…) would hang for as long as the VM lives.
  CHECK_FALSE(result.output_left_open);
}

Json listed(const VmGuard& guard, const std::string& name) {
  const Json all = guard.vmrig_json({"list", "--json"});
  REQUIRE(all.is_array());
  for (const Json& vm : all) {
    if (vm.at("name") == Json(name)) return vm;
  }
  return nullptr;
}

std::string state_of(const VmGuard& guard, const std::string& name) {
  const Json vm = listed(guard, name);
  return vm.is_null() ? "none" : vm.at("state").get<std::string>();
}

TEST_CASE("a VM started paused is pinned and runs only when it is resumed") {
  NEED_QEMU();
  const VmGuard guard;
  const std::string config = guard.write_config(guard.config("still"));
  REQUIRE(guard.vmrig({"start", "--paused", config}).status == 0);
  CHECK(state_of(guard, "still") == "paused");
  const Json before = guard.vmrig_json({"qmp", "still", "query-status"});
  REQUIRE(before.is_object());
  CHECK(before.at("running") == false);
  CHECK(guard.vmrig({"resume", "still"}).status == 0);
  CHECK(guard.vmrig_json({"qmp", "still", "query-status"}).at("running") == true);
  CHECK(guard.vmrig({"stop", "still", "--force"}).status == 0);
  CHECK(guard.vmrig({"start", "--paused", "--wait=x", config}).status == 2);
  CHECK(guard.nothing_left());
}

TEST_CASE("a VM goes through start, list, status, pause, resume, reset and stop") {
  NEED_QEMU();
  VmGuard guard;
  start(guard, guard.config("one"));

  const Json vm = listed(guard, "one");
  REQUIRE(vm.is_object());
  CHECK(vm.at("state") == Json("running"));
  CHECK(vm.at("vcpus") == Json(1));
  CHECK(vm.at("memory") == Json("64MiB"));
  REQUIRE(guard.qemus().size() == 1);
  CHECK(vm.at("pid") == Json(guard.qemus().front()));
  const CommandResult table = guard.vmrig({"list"});
  CHECK(table.out.starts_with("NAME  STATE    PID"));
  CHECK(contains(table.out, "one   running"));

  const CommandResult status = guard.vmrig({"status", "one"});
  CHECK(status.status == 0);
  CHECK(contains(status.out, "vcpu 0"));
  CHECK(contains(status.out, "con0"));
  CHECK(contains(status.out, "qemu.log"));

  CHECK(guard.vmrig({"pause", "one"}).status == 0);
  CHECK(guard.vmrig_json({"qmp", "one", "query-status"}).at("status") == Json("paused"));
  CHECK(state_of(guard, "one") == "paused");
  CHECK(guard.vmrig({"resume", "one"}).status == 0);
  CHECK(guard.vmrig_json({"qmp", "one", "query-status"}).at("running") == Json(true));
  CHECK(state_of(guard, "one") == "running");
  CHECK(guard.vmrig({"reset", "one"}).status == 0);
  CHECK(state_of(guard, "one") == "running");

  const Json stopped = guard.vmrig_json({"stop", "one", "--force", "--json"});
  REQUIRE(stopped.is_object());
  CHECK(stopped.at("by") == Json("quit"));
  CHECK(state_of(guard, "one") == "none");
  CHECK(guard.nothing_left());
}

TEST_CASE("an empty list is a heading, or an empty array, and no fault") {
  VmGuard guard;
  const CommandResult table = guard.vmrig({"list"});
  CHECK(table.status == 0);
  CHECK(table.out == "NAME  STATE  PID  VCPUS  MEMORY  NODE  UPTIME\n");
  CHECK(table.err.empty());
  CHECK(guard.vmrig_json({"list", "--json"}) == Json::array());
}

TEST_CASE("a second start of a running name is refused and leaves the first alone") {
  NEED_QEMU();
  VmGuard guard;
  const Json config = guard.config("twice");
  start(guard, config);
  const std::vector<pid_t> before = guard.qemus();
  for (const char* command : {"start", "run"}) {
    const CommandResult second = guard.vmrig({command, guard.write_config(config)});
    CHECK(second.status == 6);
    CHECK(contains(second.err, "\"twice\""));
    CHECK(contains(second.err, "mend: vmrig stop twice"));
  }
  CHECK(guard.qemus() == before);
  CHECK(state_of(guard, "twice") == "running");
  CHECK(guard.vmrig({"stop", "twice", "--force"}).status == 0);
  // The name is free at once.
  start(guard, config);
  CHECK(guard.vmrig({"stop", "twice", "--force"}).status == 0);
  CHECK(guard.nothing_left());
}

TEST_CASE("five VMs started at once run and are stopped by one command") {
  NEED_QEMU();
  VmGuard guard;
  constexpr int kVms = 5;
  std::vector<std::unique_ptr<RunningCommand>> starts;
  for (int i = 0; i < kVms; ++i) {
    const std::string config = guard.write_config(guard.config("vm" + std::to_string(i)));
    starts.push_back(std::make_unique<RunningCommand>(guard.request({"start", config})));
  }
  for (const auto& one : starts) {
    const CommandResult& result = one->wait();
    CHECK_MESSAGE(result.status == 0, result.err);
  }
  CHECK(guard.qemus().size() == kVms);
  CHECK(guard.vmrig_json({"list", "--json"}).size() == kVms);
  const Json stopped = guard.vmrig_json({"stop", "--all", "--force", "--json"});
  REQUIRE(stopped.is_array());
  CHECK(stopped.size() == kVms);
  CHECK(guard.nothing_left());
}

TEST_CASE("of two starts of one name at once, one wins and the other is told") {
  NEED_QEMU();
  VmGuard guard;
  const std::string config = guard.write_config(guard.config("race"));
  RunningCommand first(guard.request({"start", config}));
  RunningCommand second(guard.request({"start", config}));
  const int one = first.wait().status;
  const int two = second.wait().status;
  CHECK(std::min(one, two) == 0);
  CHECK(std::max(one, two) == 6);
  CHECK(guard.qemus().size() == 1);
  CHECK(guard.vmrig({"stop", "race", "--force"}).status == 0);
  CHECK(guard.nothing_left());
}

TEST_CASE("TERM to run ends a guest that does not react when its time is up") {
  NEED_QEMU();
  VmGuard guard;
  RunningCommand run(guard.request({"run", guard.write_config(guard.config("term"))}));
  REQUIRE(run.wait_for_err("runs"));
  run.send_signal(SIGTERM);
  const CommandResult& result = run.wait();
  CHECK_MESSAGE(result.status == 0, result.err);
  CHECK(contains(result.err, "quit"));
  CHECK(guard.nothing_left());
}

TEST_CASE("TERM twice to run ends the VM now") {
  NEED_QEMU();
  VmGuard guard;
  Json config = guard.config("now");
  config["power"]["stop_timeout_s"] = 600;
  RunningCommand run(guard.request({"run", guard.write_config(config)}));
  REQUIRE(run.wait_for_err("runs"));
  run.send_signal(SIGTERM);
  CHECK(eventually([&] { return state_of(guard, "now") == "stopping"; }));
  run.send_signal(SIGTERM);
  const CommandResult& result = run.wait();
  CHECK_FALSE(result.timed_out);
  CHECK_MESSAGE(result.status == 0, result.err);
  CHECK(guard.nothing_left());
}

TEST_CASE("a VM outlives its detached supervisor, and stop and start still work") {
  NEED_QEMU();
  VmGuard guard;
  start(guard, guard.config("orphan"));
  const Json vm = listed(guard, "orphan");
  REQUIRE(vm.is_object());
  const pid_t supervisor = vm.at("supervisor").get<pid_t>();
  REQUIRE(::kill(supervisor, SIGKILL) == 0);
  CHECK(eventually([&] { return state_of(guard, "orphan") == "orphaned"; }));
  REQUIRE(guard.qemus().size() == 1);
  // QEMU's own monitor answers in the supervisor's place.
  CHECK(guard.vmrig_json({"qmp", "orphan", "query-status"}).at("running") == Json(true));
  CHECK(guard.vmrig({"status", "orphan"}).status == 0);
  const CommandResult console = guard.vmrig({"console", "orphan"});
  CHECK(console.status == 1);
  CHECK(contains(console.err, "mend: vmrig recover"));
  // A start is refused, and has the VM supervised again.
  CHECK(guard.vmrig({"start", guard.write_config(guard.config("orphan"))}).status == 6);
  CHECK(eventually([&] { return state_of(guard, "orphan") == "running"; }));
  CHECK(guard.vmrig_json({"qmp", "orphan", "query-status"}).at("running") == Json(true));
  const CommandResult stopped = guard.vmrig({"stop", "orphan", "--timeout", "0.2"});
  CHECK_MESSAGE(stopped.status == 0, stopped.err);
  CHECK(guard.nothing_left());
}

TEST_CASE("a supervisor in the foreground takes its QEMU along when it is killed") {
  NEED_QEMU();
  VmGuard guard;
  RunningCommand run(guard.request({"run", guard.write_config(guard.config("tied"))}));
  REQUIRE(run.wait_for_err("runs"));
  REQUIRE(guard.qemus().size() == 1);
  run.send_signal(SIGKILL);
  run.wait();
  CHECK(eventually([&] { return state_of(guard, "tied") == "stale"; }));
  // Its folder is stale, and goes by recover.
  CHECK(guard.vmrig({"recover"}).status == 0);
  CHECK(guard.nothing_left());
}

TEST_CASE("a QEMU that is killed is a crash that list, logs and the next start know") {
  NEED_QEMU();
  VmGuard guard;
  start(guard, guard.config("crash"));
  REQUIRE(guard.qemus().size() == 1);
  ::kill(guard.qemus().front(), SIGKILL);
  CHECK(eventually([&] { return guard.processes().empty(); }));
  CHECK(state_of(guard, "crash") == "crashed");
  CHECK(guard.vmrig({"logs", "crash"}).status == 0);
  CHECK(guard.vmrig({"pause", "crash"}).status == 5);
  start(guard, guard.config("crash"));
  CHECK(state_of(guard, "crash") == "running");
  ::kill(guard.qemus().front(), SIGKILL);
  CHECK(eventually([&] { return guard.processes().empty(); }));
  // stop says that the crash has been seen.
  CHECK(guard.vmrig({"stop", "crash"}).status == 0);
  CHECK(guard.nothing_left());
}

TEST_CASE("run tells a crash by status 1 and leaves nothing") {
  NEED_QEMU();
  VmGuard guard;
  RunningCommand run(guard.request({"run", guard.write_config(guard.config("fall"))}));
  REQUIRE(run.wait_for_err("runs"));
  REQUIRE(guard.qemus().size() == 1);
  ::kill(guard.qemus().front(), SIGSEGV);
  const CommandResult& result = run.wait();
  CHECK(result.status == 1);
  CHECK(contains(result.err, "SIGSEGV"));
  CHECK(guard.nothing_left());
}

TEST_CASE("as PID 1 of a container run reaps orphans and ends with the VM") {
  NEED_QEMU();
  VmGuard guard;
  if (run_command({.argv = {"unshare", "--pid", "--fork", "--mount-proc", "true"},
                   .environment = {},
                   .input = {}})
          .status != 0) {
    SKIP_TEST("unshare --pid is not allowed");
  }
  // Leaves an orphan behind before it becomes QEMU.
  const std::string qemu = guard.folder() / "qemu-with-orphan";
  write_text(qemu, "#!/bin/sh\n(true &)\nexec " + system_qemu() + " \"$@\"\n");
  ::chmod(qemu.c_str(), 0700);
  Json config = guard.config("init");
  config["qemu"] = qemu;
  CommandRequest request = guard.request({"run", guard.write_config(config)});
  request.argv.insert(request.argv.begin(),
                      {"unshare", "--pid", "--fork", "--mount-proc", "--kill-child"});
  RunningCommand run(request);
  REQUIRE_MESSAGE(run.wait_for_err("runs"), run.err());
  const auto children_of = [](pid_t pid) {
    const std::string id = std::to_string(pid);
    return read_text("/proc/" + id + "/task/" + id + "/children");
  };
  const std::string inner = children_of(run.pid());
  REQUIRE_FALSE(inner.empty());
  const auto vmrig = static_cast<pid_t>(std::strtol(inner.c_str(), nullptr, 10));
  // QEMU is the only child: the orphan is not there as a zombie either.
  CHECK(eventually([&] {
    const std::string children = children_of(vmrig);
    return !children.empty() && children.find(' ') == children.size() - 1;
  }));
  ::kill(vmrig, SIGTERM);
  const CommandResult& result = run.wait();
  CHECK_MESSAGE(result.status == 0, result.err);
  CHECK(guard.nothing_left());
}

TEST_CASE("a hung supervisor is named instead of waited for without end") {
  NEED_QEMU();
  VmGuard guard;
  start(guard, guard.config("hung"));
  const pid_t supervisor = listed(guard, "hung").at("supervisor").get<pid_t>();
  ::kill(supervisor, SIGSTOP);
  const CommandResult result = guard.vmrig({"pause", "hung"});
  ::kill(supervisor, SIGCONT);
  CHECK(result.status == 124);
  CHECK(contains(result.err, std::to_string(supervisor)));
  CHECK(contains(result.err, "does not answer"));
  CHECK(guard.vmrig({"stop", "hung", "--force"}).status == 0);
  CHECK(guard.nothing_left());
}

TEST_CASE("warm launches start no extra QEMU") {
  NEED_QEMU();
  VmGuard guard;
  const std::string qemu = guard.folder() / "counted-qemu";
  const std::string count = guard.folder() / "count";
  write_text(qemu, "#!/bin/sh\necho x >>'" + count + "'\nexec " + system_qemu() + " \"$@\"\n");
  ::chmod(qemu.c_str(), 0700);
  Json config = guard.config("warm");
  config["qemu"] = qemu;
  const auto launches = [&] { return read_text(count).size() / 2; };
  start(guard, config);
  CHECK(launches() == 2);  // the probe and the VM
  CHECK(guard.vmrig({"stop", "warm", "--force"}).status == 0);
  start(guard, config);
  CHECK(launches() == 3);
  CHECK(guard.vmrig({"plan", guard.write_config(config)}).status == 0);
  CHECK(launches() == 3);
  CHECK(guard.vmrig({"stop", "warm", "--force"}).status == 0);
  CHECK(guard.nothing_left());
}

}  // namespace
