// vmrig verify against a real QEMU on this kernel.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sched.h>

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <string>

#include "tests/support/vm_guard.hpp"

namespace {

using namespace vmrig;
using namespace vmrig::testing;

Json row_of(const Json& rows, const std::string& subject) {
  for (const Json& row : rows) {
    if (row.at("subject") == subject) return row;
  }
  return {{"measured", "no row " + subject}, {"pass", nullptr}};
}

void allow_two_cpus(pid_t tid) {
  cpu_set_t both;
  CPU_ZERO(&both);
  CPU_SET(0, &both);
  CPU_SET(1, &both);
  if (::sched_setaffinity(tid, sizeof both, &both) < 0) throw std::runtime_error("affinity");
}

TEST_CASE("verify measures the running VM, and sees what is no longer as planned") {
  VmGuard guard;
  Json config = guard.config("v");
  config["cpu"] = {{"vcpus", 1}, {"pin", {"0"}}, {"emulator", "0"}};
  config["memory"] = {{"size", "72MiB"}, {"prealloc", true}, {"lock", true}};
  const std::string file = guard.write_config(config);
  const CommandResult started = guard.vmrig({"start", "--paused", file});
  REQUIRE_MESSAGE(started.status == 0, started.err);

  const CommandResult good = guard.vmrig({"verify", "v", "--seconds", "0.1"});
  INFO(good.out << good.err);
  CHECK(good.status == 0);
  CHECK(good.out.find(" pass\n") != std::string::npos);

  const Json rows = guard.vmrig_json({"verify", "v", "--seconds", "0", "--json"});
  INFO(rows.dump(1));
  CHECK(row_of(rows, "vcpu 0").at("measured") == "CPU 0, idle");
  CHECK(row_of(rows, "memory").at("expected") == "72MiB, ordinary pages, populated");
  CHECK(row_of(rows, "lock of memory").at("pass") == true);

  const Json status = guard.vmrig_json({"status", "v", "--json"});
  for (const Json& thread : status.at("threads")) {
    if (thread.at("role") != "vcpu") continue;
    cpu_set_t both;
    CPU_ZERO(&both);
    CPU_SET(0, &both);
    CPU_SET(1, &both);
    if (::sched_setaffinity(thread.at("tid").get<pid_t>(), sizeof both, &both) < 0)
      FAIL("affinity");
  }
  const CommandResult bad = guard.vmrig({"verify", "v", "--seconds", "0", "--json"});
  CHECK(bad.status == 1);
  CHECK(row_of(Json::parse(bad.out), "vcpu 0").at("pass") == false);

  CHECK(guard.vmrig({"stop", "v", "--force"}).status == 0);
  CHECK(guard.vmrig({"verify", "v"}).status == 5);
  CHECK(guard.nothing_left());
}

TEST_CASE("a thread that was born elsewhere comes to the emulator's CPUs when the guest runs") {
  VmGuard guard;
  Json config = guard.config("v");
  config["cpu"] = {{"vcpus", 1}, {"emulator", "0"}};
  const CommandResult started = guard.vmrig({"start", "--paused", guard.write_config(config)});
  REQUIRE_MESSAGE(started.status == 0, started.err);
  const Json status = guard.vmrig_json({"status", "v", "--json"});
  const auto qemu = status.at("pid").get<pid_t>();
  std::set<pid_t> with_role;
  for (const Json& thread : status.at("threads")) with_role.insert(thread.at("tid").get<pid_t>());
  int strays = 0;
  for (const auto& task : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", qemu))) {
    const pid_t tid = std::stoi(task.path().filename());
    if (with_role.contains(tid)) continue;
    allow_two_cpus(tid);
    ++strays;
  }
  REQUIRE(strays > 0);
  const auto is_well_placed = [&] {
    const CommandResult result = guard.vmrig({"verify", "v", "--seconds", "0", "--json"});
    return row_of(Json::parse(result.out), "emulator").at("pass") == true;
  };
  CHECK_FALSE(is_well_placed());
  CHECK(guard.vmrig({"resume", "v"}).status == 0);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!is_well_placed() && std::chrono::steady_clock::now() < deadline) continue;
  CHECK(is_well_placed());
  CHECK(guard.vmrig({"stop", "v", "--force"}).status == 0);
  CHECK(guard.nothing_left());
}

}  // namespace
