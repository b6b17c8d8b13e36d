// The texts of a plan.
#include "launcher/show_plan.hpp"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

namespace {

using namespace vmrig;

Plan some_plan() {
  Plan plan;
  plan.config.name = "router";
  plan.config.memory.size = Bytes::gib(8);
  plan.config.cpu.vcpus = 2;
  plan.qemu = "/usr/bin/qemu-system-x86_64";
  plan.qemu_version = {.major = 7, .minor = 2, .micro = 22, .package = ""};
  plan.accel = Accel::kKvm;
  plan.accel_reason = "svm, /dev/kvm opens";
  plan.placement.vcpus = {CpuSet{1}, CpuSet{2}};
  plan.placement.emulator = CpuSet{37, 38};
  plan.arguments = {{.words = {"-machine", "q35"}, .origin = "machine.type"},
                    {.words = {"-nodefaults"}, .origin = "rule: nothing by default"}};
  return plan;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_CASE("a plan shows machine, accelerator with its reason, CPUs and memory") {
  const std::string text = show_plan(some_plan(), {});
  CHECK(text.starts_with("router   q35, kvm (svm, /dev/kvm opens)   QEMU 7.2.22\n"));
  CHECK(contains(text, "  vCPUs        0>1 1>2    emulator 37-38\n"));
  CHECK(contains(text, "  memory       8GiB, ordinary pages"));
  CHECK(contains(text, "preflight      0 ok\n"));
  CHECK(contains(text, "qemu-system-x86_64, 3 arguments (--argv prints them)\n"));
}

TEST_CASE("a plan bound to a node says which, of how many, and why") {
  Plan plan = some_plan();
  plan.placement.node = 0;
  plan.placement.reasons = {"30 of 32 1GiB pages free", "CPUs 1-8 isolated"};
  plan.placement.passed_over = {"CPU 0 (housekeeping)"};
  plan.hugepages = HugepageSize::k1GiB;
  const std::string text = show_plan(plan, {.host_nodes = 2});
  CHECK(contains(text, "router   node 0 of 2   q35"));
  CHECK(contains(text, "  why node 0   30 of 32 1GiB pages free; CPUs 1-8 isolated\n"));
  CHECK(contains(text, "  memory       8GiB = 8 x 1GiB, bound to node 0"));
  CHECK(contains(text, "  passed over  CPU 0 (housekeeping)\n"));
}

TEST_CASE("findings that are not ok are shown with their mend, problems first") {
  Plan plan = some_plan();
  plan.preflight = {
      {.severity = Severity::kOk, .path = "memory", .message = "fits", .mend = {}, .file = {}},
      {.severity = Severity::kWarning,
       .path = {},
       .message = "slow",
       .mend = "go faster",
       .file = {}},
      {.severity = Severity::kProblem,
       .status = ExitStatus::kHost,
       .path = "cpu.pin",
       .message = "CPU 9 is offline",
       .mend = "echo 1 > online",
       .file = {}}};
  const std::string text = show_plan(plan, {});
  CHECK(contains(text, "preflight      1 ok, 1 warning, 1 problem\n"));
  CHECK(contains(text,
                 "  problem      cpu.pin: CPU 9 is offline\n"
                 "               mend: echo 1 > online\n"
                 "  warning      slow\n"));
  const Json json = to_json(plan);
  CHECK(json.at("preflight").at(2).at("status") == Json(3));
}

TEST_CASE("long rows are wrapped under their text, a long word stays whole") {
  Plan plan = some_plan();
  plan.placement.reasons = {std::string(30, 'a'), std::string(30, 'b'), std::string(90, 'c')};
  const std::string text = show_plan(plan, {.columns = 60});
  CHECK(contains(text, std::string(30, 'a') + ";\n" + std::string(15, ' ') + std::string(30, 'b')));
  CHECK(contains(text, "\n" + std::string(15, ' ') + std::string(90, 'c') + "\n"));
}

TEST_CASE("names from a config can't drive the terminal") {
  Plan plan = some_plan();
  plan.config.disks.resize(1);
  plan.config.disks[0].id = "disk0";
  plan.config.disks[0].path = "/a\x1b[2J\n.img";
  plan.placement.reasons = {"because\x1b]0;x"};
  const std::string text = show_plan(plan, {});
  CHECK_FALSE(contains(text, "\x1b"));
  CHECK(contains(text, "\"/a\\x1b[2J\\n.img\""));
}

TEST_CASE("colour is there only when asked for") {
  CHECK(contains(show_plan(some_plan(), {.colour = Colour::kOn}), "\x1b[1mrouter\x1b[0m"));
  CHECK_FALSE(contains(show_plan(some_plan(), {.colour = Colour::kOff}), "\x1b"));
}

TEST_CASE("a plan as JSON has the config, the placement and each argument's origin") {
  const Json json = to_json(some_plan());
  CHECK(json.at("config").at("memory").at("size") == Json("8GiB"));
  CHECK(json.at("placement").at("vcpus") == Json({"1", "2"}));
  CHECK(json.at("placement").at("node").is_null());
  CHECK(json.at("arguments").at(0).at("words") == Json({"-machine", "q35"}));
  CHECK(json.at("arguments").at(0).at("origin") == Json("machine.type"));
  CHECK(json.at("accel").at("name") == Json("kvm"));
}

TEST_CASE("shell quoting survives what a shell would read into it") {
  CHECK(shell_quoted({"qemu", "-a", "b=c,d", ""}) == "qemu -a b=c,d ''");
  CHECK(shell_quoted({"it's", "a b", "$x", "n\nl"}) == "'it'\\''s' 'a b' '$x' 'n\nl'");
}

TEST_CASE("tables are as wide as their widest cell, durations as short as they can be") {
  CHECK(table({{"NAME", "PID"}, {"a", "12345"}}) == "NAME  PID\na     12345\n");
  CHECK(table({{"ä", "x"}, {"bb", "y"}}) == "ä   x\nbb  y\n");
  CHECK(duration_text(std::chrono::seconds(59)) == "59s");
  CHECK(duration_text(std::chrono::seconds(3 * 60 + 5)) == "3m05s");
  CHECK(duration_text(std::chrono::hours(2)) == "2h00m");
  CHECK(duration_text(std::chrono::hours(24 * 6 + 4)) == "6d04h");
}

}  // namespace
