// A real guest, booted to its userspace under TCG.
#include <doctest/doctest.h>
#include <sched.h>

#include <csignal>
#include <nlohmann/json.hpp>

#include "hostcfg/base/cpu_set.hpp"
#include "tests/support/guest.hpp"
#include "tests/support/skip.hpp"
#include "tests/support/vm_guard.hpp"

namespace {

using namespace vmrig;
using namespace vmrig::testing;

// What the kernel itself says, not what vmrig says of it.
CpuSet kernel_affinity(pid_t tid) {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  CpuSet cpus;
  if (::sched_getaffinity(tid, sizeof mask, &mask) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &mask)) cpus.insert(cpu);
  }
  return cpus;
}

int some_allowed_cpu() { return kernel_affinity(0).cpus().back(); }

TEST_CASE("a guest boots, is pinned, answers on its console and powers off by ACPI") {
  NEED_GUEST();
  VmGuard guard;
  Json config = guest_config(guard, "guest", "");
  const std::string cpu = std::to_string(some_allowed_cpu());
  config["cpu"] = {{"vcpus", 2}, {"pin", {cpu, cpu}}};
  const CommandResult started = guard.vmrig(
      {"start", guard.write_config(config), "--wait", kGuestGreeting, "--timeout", "90"});
  REQUIRE_MESSAGE(started.status == 0, started.err);

  // A client that comes late gets what was printed before, and can type.
  CommandRequest request = guard.request({"console", "guest", "--timeout", "60"});
  request.input = "echo answer-$((40 + 2))\n";
  RunningCommand console(request);
  CHECK(console.wait_for_out("vmrig guest ready: 2 vCPUs"));
  CHECK(console.wait_for_out("answer-42"));
  console.send_signal(SIGTERM);
  CHECK(console.wait().status == 128 + SIGTERM);

  const Json status = guard.vmrig_json({"status", "guest", "--json"});
  REQUIRE(status.is_object());
  CHECK(status.at("state") == Json("running"));
  int vcpus = 0;
  for (const Json& thread : status.at("threads")) {
    if (thread.at("role") != Json("vcpu")) continue;
    ++vcpus;
    CHECK(kernel_affinity(thread.at("tid").get<pid_t>()).to_string() == cpu);
    CHECK(thread.at("cpus") == Json(cpu));
  }
  CHECK(vcpus == 2);

  const Json stopped = guard.vmrig_json({"stop", "guest", "--json"});
  REQUIRE(stopped.is_object());
  CHECK(stopped.at("by") == Json("powerdown"));
  CHECK(guard.nothing_left());
}

TEST_CASE("run ends with status 0 when the guest powers itself off") {
  NEED_GUEST();
  VmGuard guard;
  const Json config = guest_config(guard, "short", "vmrig.autopoweroff");
  RunningCommand run(guard.request({"run", guard.write_config(config)}));
  CHECK(run.wait_for_err("runs", kGuestBootTime));
  const CommandResult& result = run.wait();
  CHECK_MESSAGE(result.status == 0, result.err);
  CHECK(result.err.find("the guest powered off") != std::string::npos);
  CHECK(guard.nothing_left());
}

TEST_CASE("TERM to run powers the guest off by ACPI") {
  NEED_GUEST();
  VmGuard guard;
  RunningCommand run(guard.request({"run", guard.write_config(guest_config(guard, "term", ""))}));
  REQUIRE(run.wait_for_err("runs", kGuestBootTime));
  CommandRequest request = guard.request({"console", "term", "--timeout", "90"});
  request.deadline = kGuestBootTime;
  RunningCommand console(request);
  REQUIRE(console.wait_for_out(kGuestGreeting, kGuestBootTime));
  run.send_signal(SIGTERM);
  const CommandResult& result = run.wait();
  CHECK_MESSAGE(result.status == 0, result.err);
  // The guest took part: QEMU did not have to be asked.
  CHECK(result.err.find("quit") == std::string::npos);
  CHECK(console.wait().status == 0);
  CHECK(guard.nothing_left());
}

TEST_CASE("a guest that ignores the power button is ended when its time is up") {
  NEED_GUEST();
  VmGuard guard;
  const Json config = guest_config(guard, "deaf", "vmrig.powerbutton=ignore");
  const CommandResult started =
      guard.vmrig({"start", guard.write_config(config), "--wait", kGuestGreeting});
  REQUIRE_MESSAGE(started.status == 0, started.err);
  const Json stopped = guard.vmrig_json({"stop", "deaf", "--timeout", "0.5", "--json"});
  REQUIRE(stopped.is_object());
  CHECK(stopped.at("by") == Json("quit"));
  CHECK(guard.nothing_left());
}

}  // namespace
