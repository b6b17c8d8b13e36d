// One VM's silence, hang or death is nothing that a command about another one waits for.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/skip.hpp"
#include "tests/support/vm_guard.hpp"

namespace {

using namespace vmrig;
using namespace vmrig::testing;

// A command waits 5 s for a silent supervisor, a new supervisor as long for a silent QEMU.
constexpr std::chrono::milliseconds kQuick{2500};

pid_t pid_of(const VmGuard& guard, const std::string& name, const std::string& who) {
  return Json::parse(read_text(guard.state_dir() + "/" + name + "/state.json"))
      .at(who)
      .at("pid")
      .get<pid_t>();
}

// Stands still for its life.
class Stopped {
 public:
  explicit Stopped(pid_t pid) : pid_(pid) { REQUIRE(::kill(pid_, SIGSTOP) == 0); }
  Stopped(const Stopped&) = delete;
  Stopped& operator=(const Stopped&) = delete;
  ~Stopped() { ::kill(pid_, SIGCONT); }

 private:
  pid_t pid_;
};

CommandResult quickly(const VmGuard& guard, const std::vector<std::string>& words) {
  CommandResult result = guard.vmrig(words);
  CHECK_MESSAGE(result.status == 0, words.front() << ": " << result.err);
  CHECK_MESSAGE(result.took < kQuick, words.front() << " took " << result.took.count() << " ms");
  return result;
}

Json listed(const VmGuard& guard, const std::string& name) {
  for (const Json& vm : guard.vmrig_json({"list", "--json"})) {
    if (vm.at("name") == name) return vm;
  }
  return nullptr;
}

void start(VmGuard& guard, const std::string& name) {
  const CommandResult started =
      guard.vmrig({"start", "--paused", guard.write_config(guard.config(name))});
  REQUIRE_MESSAGE(started.status == 0, started.err);
}

void start_fake(VmGuard& guard, const std::string& name, const std::string& mode) {
  Json config = guard.config(name);
  config["qemu"] = VMRIG_FAKE_QEMU;
  config["serial"] = Json::array();
  guard.set_environment("FAKE_QEMU", mode);
  guard.set_environment("FAKE_QEMU_PROBE", system_qemu());
  const CommandResult started =
      guard.vmrig({"start", guard.write_config(config), "--set", "machine.accel=tcg"});
  REQUIRE_MESSAGE(started.status == 0, started.err);
}

}  // namespace

TEST_CASE("commands about one VM don't wait for another that hangs, and list names that one") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  VmGuard guard;
  for (const char* name : {"well", "still", "hung"}) start(guard, name);
  {
    const Stopped qemu(pid_of(guard, "still", "qemu"));
    const Stopped supervisor(pid_of(guard, "hung", "supervisor"));
    const std::string table = quickly(guard, {"list"}).out;
    CHECK_MESSAGE(table.find("paused, QEMU silent") != std::string::npos, table);
    CHECK_MESSAGE(table.find("paused, supervisor silent") != std::string::npos, table);
    CHECK(listed(guard, "well").value("silent", "") == "");
    CHECK(listed(guard, "still").value("silent", "") == "QEMU");
    CHECK(listed(guard, "hung").value("silent", "") == "supervisor");

    quickly(guard, {"status", "well"});
    quickly(guard, {"qmp", "well", "query-status"});
    quickly(guard, {"attach", "well", "rng", R"({"id": "rng1"})"});
    quickly(guard, {"start", "--paused", guard.write_config(guard.config("next"))});
    quickly(guard, {"stop", "next", "--force"});
    REQUIRE(::kill(pid_of(guard, "well", "supervisor"), SIGKILL) == 0);
    REQUIRE(eventually([&] { return listed(guard, "well").at("state") == "orphaned"; }));
    quickly(guard, {"recover"});
    CHECK(listed(guard, "well").at("state") == "paused");
    quickly(guard, {"stop", "well", "--force"});
  }
  // They are well again, as soon as they answer what they were asked.
  for (const char* name : {"still", "hung"}) {
    CHECK_MESSAGE(eventually([&] { return listed(guard, name).value("silent", "").empty(); }),
                  name);
  }
  CHECK(guard.vmrig({"stop", "--all", "--force"}).status == 0);
  CHECK(guard.nothing_left());
}

TEST_CASE("an orphan whose QEMU is silent keeps no other from its new supervisor, nor a start") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  VmGuard guard;
  for (const char* name : {"well", "still"}) start(guard, name);
  for (const char* name : {"well", "still"}) {
    REQUIRE(::kill(pid_of(guard, name, "supervisor"), SIGKILL) == 0);
    REQUIRE(eventually([&] { return listed(guard, name).at("state") == "orphaned"; }));
  }
  const Stopped qemu(pid_of(guard, "still", "qemu"));
  RunningCommand all(guard.request({"recover"}));
  CHECK(eventually([&] { return listed(guard, "well").at("state") == "paused"; }, kQuick));
  quickly(guard, {"recover", "well"});
  quickly(guard, {"start", "--paused", guard.write_config(guard.config("next"))});
  const CommandResult& recovered = all.wait();
  CHECK(recovered.status == 1);
  CHECK_MESSAGE(recovered.err.find("take over VM \"still\"") != std::string::npos, recovered.err);
  CHECK(read_text(guard.state_dir() + "/still/vmrig.log").find("no new supervisor") !=
        std::string::npos);
}

TEST_CASE("a monitor that has fallen silent is named, and its VM can still be ended") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  VmGuard guard;
  start_fake(guard, "deaf", "deaf");
  CHECK(listed(guard, "deaf").value("silent", "") == "QEMU");
  // However often it is asked.
  for (int i = 0; i < 3; ++i) CHECK(quickly(guard, {"list"}).out.find("QEMU silent") > 0);
  const CommandResult stopped = guard.vmrig({"stop", "deaf", "--force"});
  CHECK_MESSAGE(stopped.status == 0, stopped.err);
  CHECK(guard.nothing_left());
}

TEST_CASE("a start gives VMs whose supervisor was killed a new one, beside it") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  VmGuard guard;
  start(guard, "old");
  REQUIRE(::kill(pid_of(guard, "old", "supervisor"), SIGKILL) == 0);
  REQUIRE(eventually([&] { return listed(guard, "old").at("state") == "orphaned"; }));
  const pid_t qemu = pid_of(guard, "old", "qemu");
  const CommandResult started =
      guard.vmrig({"start", "--paused", guard.write_config(guard.config("new"))});
  CHECK_MESSAGE(started.status == 0, started.err);
  CHECK_FALSE(started.output_left_open);
  CHECK(eventually([&] { return listed(guard, "old").at("state") == "paused"; }));
  CHECK(pid_of(guard, "old", "qemu") == qemu);
  // The new supervisor holds nothing of the start's: both names come free.
  CHECK(guard.vmrig({"stop", "new", "--force"}).status == 0);
  start(guard, "new");
  CHECK(guard.vmrig({"stop", "--all", "--force"}).status == 0);
  CHECK(guard.nothing_left());
}

TEST_CASE("a QEMU whose first thread has ended is alive, and gets a new supervisor") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  VmGuard guard;
  // To the kernel it is a zombie, and yet it holds all that it has.
  start_fake(guard, "zombie", "leaderless");
  CHECK(listed(guard, "zombie").at("state") == "running");
  REQUIRE(::kill(pid_of(guard, "zombie", "supervisor"), SIGKILL) == 0);
  CHECK(eventually([&] { return listed(guard, "zombie").at("state") == "orphaned"; }));
  // It is alive, and goes on.
  CHECK(guard.vmrig({"recover"}).status == 0);
  CHECK(listed(guard, "zombie").at("state") == "running");
  CHECK(guard.vmrig({"stop", "zombie", "--force"}).status == 0);
  CHECK(guard.nothing_left());
}
