// The program's words, answers and statuses.
#include <doctest/doctest.h>

#include <algorithm>
#include <csignal>
#include <nlohmann/json.hpp>

#include "tests/support/skip.hpp"
#include "tests/support/vm_guard.hpp"

namespace {

using namespace vmrig;
using namespace vmrig::testing;

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

const std::string kFacts = "/tests/data/facts/";

TEST_CASE("unknown words are refused with the nearest known one") {
  const VmGuard guard;
  struct Case {
    std::vector<std::string> words;
    std::string said;
  };
  for (const Case& one :
       {Case{{"strat", "x"}, "did you mean \"start\"?"},
        Case{{"list", "--jsno"}, "did you mean \"--json\"?"},
        Case{{"stop", "x", "--timeut=3"}, "did you mean \"--timeout\"?"},
        Case{{"host", "fakts"}, "did you mean \"facts\"?"}, Case{{"host"}, "second word"},
        Case{{"list", "surplus"}, "\"surplus\""}, Case{{"stop"}, "needs a NAME"},
        Case{{"stop", "x", "--all"}, "not both"}, Case{{"qmp"}, "NAME"},
        Case{{"events", "x", "--count", "0"}, "--count"}, Case{{"events"}, "NAME"},
        Case{{"stop", "x", "--timeout", "soon"}, "soon"},
        Case{{"stop", "x", "--timeout", "-1"}, "-1"},
        Case{{"stop", "x", "--timeout", "nan"}, "nan"}, Case{{"qmp", "x", "y", "[1]"}, "object"},
        Case{{"qmp", "x", "y", "{\"a\":"}, "JSON"}}) {
    const CommandResult result = guard.vmrig(one.words);
    INFO(result.err);
    CHECK(result.status == 2);
    CHECK(result.err.starts_with("vmrig: "));
    CHECK_MESSAGE(contains(result.err, one.said), one.said);
    CHECK(result.out.empty());
  }
  const CommandResult nothing = guard.vmrig({});
  CHECK(nothing.status == 2);
  CHECK(contains(nothing.err, "mend: vmrig help"));
}

TEST_CASE("help and version go to standard output with status 0") {
  const VmGuard guard;
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"help"}, std::vector<std::string>{"--help"},
        std::vector<std::string>{"help", "stop"}, std::vector<std::string>{"stop", "--help"},
        std::vector<std::string>{"--version"}, std::vector<std::string>{"version"}}) {
    const CommandResult result = guard.vmrig(words);
    CHECK(result.status == 0);
    CHECK_FALSE(result.out.empty());
    CHECK(result.err.empty());
  }
  CHECK(contains(guard.vmrig({"help"}).out, "host facts"));
  CHECK(contains(guard.vmrig({"help", "stop"}).out, "--force"));
}

TEST_CASE("a name that no VM has is refused with status 5 and the nearest name") {
  const VmGuard guard;
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"status", "ghost"}, std::vector<std::string>{"stop", "ghost"},
        std::vector<std::string>{"pause", "ghost"}, std::vector<std::string>{"console", "ghost"},
        std::vector<std::string>{"logs", "ghost"},
        std::vector<std::string>{"qmp", "ghost", "query-status"},
        std::vector<std::string>{"status", "../../etc"}}) {
    const CommandResult result = guard.vmrig(words);
    CHECK(result.status == 5);
    CHECK(contains(result.err, "\"" + words[1] + "\""));
  }
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  REQUIRE(guard.vmrig({"start", guard.write_config(guard.config("router"))}).status == 0);
  const CommandResult near = guard.vmrig({"pause", "ruoter"});
  CHECK(near.status == 5);
  CHECK(contains(near.err, "did you mean \"router\"?"));
  CHECK(guard.vmrig({"stop", "router", "--force"}).status == 0);
  CHECK(guard.nothing_left());
}

TEST_CASE("with --json faults are JSON on standard error") {
  const VmGuard guard;
  const CommandResult result = guard.vmrig({"status", "ghost", "--json"});
  CHECK(result.status == 5);
  const Json fault = Json::parse(result.err, nullptr, false);
  REQUIRE(fault.is_object());
  CHECK(fault.at("status") == Json(5));
  CHECK(fault.at("errors").at(0).at("object") == Json("ghost"));
}

TEST_CASE("qmp prints the reply, and a refusal with its class") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  const VmGuard guard;
  REQUIRE(guard.vmrig({"start", guard.write_config(guard.config("talk"))}).status == 0);
  const CommandResult reply = guard.vmrig({"qmp", "talk", "query-status"});
  CHECK(reply.status == 0);
  CHECK(Json::parse(reply.out).at("status") == Json("running"));
  CHECK(reply.out.find('\n') == reply.out.size() - 1);  // one line for a program
  const CommandResult refused = guard.vmrig({"qmp", "talk", "no-such-command"});
  CHECK(refused.status == 1);
  CHECK(contains(refused.err, "CommandNotFound: "));
  const CommandResult with_arguments =
      guard.vmrig({"qmp", "talk", "qom-get", R"({"path": "/machine", "property": "type"})"});
  CHECK(with_arguments.status == 0);
  CHECK(contains(with_arguments.out, "q35"));
  CHECK(guard.vmrig({"qmp", "talk", "qom-get", R"({"path": 1})"}).status == 1);
  CHECK(guard.vmrig({"stop", "talk", "--force"}).status == 0);
  CHECK(guard.nothing_left());
}

TEST_CASE("a console without a terminal follows until the VM ends or the time is up") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  const VmGuard guard;
  REQUIRE(guard.vmrig({"start", guard.write_config(guard.config("quiet"))}).status == 0);
  CHECK(guard.vmrig({"console", "quiet", "--timeout", "0.1"}).status == 124);
  RunningCommand console(guard.request({"console", "quiet"}));
  REQUIRE(eventually([&guard] {
    const Json status = guard.vmrig_json({"qmp", "quiet", "vmrig-status"});
    return status.is_object() && status.at("live").at("console_clients") == 1;
  }));
  CHECK(guard.vmrig({"stop", "quiet", "--force"}).status == 0);
  const CommandResult& result = console.wait();
  CHECK_FALSE(result.timed_out);
  CHECK(result.status == 0);
  CHECK(guard.nothing_left());
}

TEST_CASE("a console restores the terminal when Ctrl-] leaves it and when a signal ends it") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  if (run_command({.argv = {"script", "--version"}, .environment = {}, .input = {}}).status != 0) {
    SKIP_TEST("no script (bsdutils) to make a terminal");
  }
  const VmGuard guard;
  REQUIRE(guard.vmrig({"start", guard.write_config(guard.config("tty"))}).status == 0);
  const std::string console =
      "\"" + vmrig_program() + "\" --state-dir \"" + guard.state_dir() + "\" console tty";
  // stty tells the mode before and after; both have to be the same text.
  const std::string compare = "before=$(stty -g); " + console +
                              "; echo ended $?; "
                              "[ \"$before\" = \"$(stty -g)\" ] && echo restored";
  CommandRequest request{.argv = {"script", "-qec", compare, "/dev/null"},
                         .environment = guard.environment(),
                         .input = {},
                         .keep_input_open = true};
  RunningCommand leaving(request);
  REQUIRE(leaving.wait_for_out("Ctrl-] leaves"));
  // The first keys may come before the terminal is raw; one of them will do.
  CHECK(eventually([&] {
    leaving.write_input("\x1d");
    return leaving.wait_for_out("ended 0", std::chrono::milliseconds(100));
  }));
  CHECK(leaving.wait_for_out("restored"));

  RunningCommand killed(request);
  REQUIRE(killed.wait_for_out("Ctrl-] leaves"));
  pid_t pid = -1;
  REQUIRE(eventually([&] {
    for (const pid_t one : guard.processes()) {
      if (contains(read_text("/proc/" + std::to_string(one) + "/cmdline"),
                   std::string("console\0tty", 11)) &&
          read_text("/proc/" + std::to_string(one) + "/comm") == "vmrig\n") {
        pid = one;
      }
    }
    return pid > 0;
  }));
  ::kill(pid, SIGTERM);
  CHECK(killed.wait_for_out("ended 143"));
  CHECK(killed.wait_for_out("restored"));
  CHECK(guard.vmrig({"stop", "tty", "--force"}).status == 0);
  CHECK(guard.nothing_left());
}

TEST_CASE("logs tells what QEMU said, and --follow ends with the VM") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  const VmGuard guard;
  const Json config = guard.config("logged");
  REQUIRE(guard.vmrig({"start", guard.write_config(config)}).status == 0);
  RunningCommand follow(guard.request({"logs", "logged", "--follow"}));
  CHECK(follow.wait_for_out("==> vmrig <=="));
  CHECK(guard.vmrig({"stop", "logged", "--force"}).status == 0);
  const CommandResult& result = follow.wait();
  CHECK(result.status == 0);
  CHECK_FALSE(result.timed_out);
  CHECK(guard.nothing_left());
}

TEST_CASE("host facts are what plan --facts reads") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  const VmGuard guard;
  const CommandResult facts = guard.vmrig({"host", "facts"});
  REQUIRE(facts.status == 0);
  const std::string path = guard.folder() / "facts.json";
  write_text(path, facts.out);
  Json config = guard.config("here");
  config["machine"]["accel"] = "auto";
  const std::string file = guard.write_config(config);
  const CommandResult recorded = guard.vmrig({"plan", file, "--facts", path, "--argv"});
  CHECK(recorded.status == 0);
  CHECK(recorded.out == guard.vmrig({"plan", file, "--argv"}).out);
  write_text(path, "{}");
  const CommandResult empty = guard.vmrig({"plan", file, "--facts", path});
  CHECK(empty.status == 2);
  CHECK(contains(empty.err, "mend: vmrig host facts"));
}

TEST_CASE("probe's JSON is what plan --caps reads") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  const VmGuard guard;
  CHECK(contains(guard.vmrig({"probe"}).out, "accelerators"));
  const CommandResult caps = guard.vmrig({"probe", "--json"});
  REQUIRE(caps.status == 0);
  const std::string path = guard.folder() / "caps.json";
  write_text(path, caps.out);
  const std::string file = guard.write_config(guard.config("here"));
  const CommandResult recorded = guard.vmrig({"plan", file, "--caps", path});
  CHECK_MESSAGE(recorded.status == 0, recorded.err);
  CHECK(guard.vmrig({"probe", "/bin/true"}).status == 4);
  CHECK(guard.vmrig({"probe", "/absent"}).status == 3);
}

TEST_CASE("plan touches nothing, shows one screen, and takes --set") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  const VmGuard guard;
  const std::string file = guard.write_config(guard.config("seen"));
  const CommandResult plan =
      guard.vmrig({"plan", file, "--set", "memory.size=96MiB", "--set", "cpu.vcpus=2"});
  INFO(plan.err);
  CHECK(plan.status == 0);
  CHECK(contains(plan.out, "96MiB"));
  CHECK(contains(plan.out, "--argv prints them"));
  CHECK(std::count(plan.out.begin(), plan.out.end(), '\n') < 25);
  CHECK_FALSE(contains(plan.out, "\x1b"));  // no colour off a terminal
  CHECK(guard.remains().empty());
  CHECK(guard.processes().empty());
  CHECK(guard.vmrig({"plan", file, "--set", "memory.sise=1GiB"}).status == 2);
}

TEST_CASE("plan against the facts of a 72 CPU host is made for that host") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  const VmGuard guard;
  Json config = guard.config("big");
  config["cpu"] = {{"vcpus", 8}, {"pin", "auto"}};
  config["machine"]["accel"] = "auto";
  const std::string facts = source_folder() + kFacts + "two-socket-72cpu.json";
  const CommandResult plan = guard.vmrig({"plan", guard.write_config(config), "--facts", facts});
  INFO(plan.err);
  CHECK(plan.status == 0);
  CHECK(contains(plan.out, "7>"));
}

TEST_CASE("schema is JSON with every key of the config") {
  const VmGuard guard;
  const Json schema = guard.vmrig_json({"schema"});
  REQUIRE(schema.is_object());
  CHECK(schema.at("properties").contains("memory"));
}

TEST_CASE("start --wait tells when the text does not come, and ends the VM") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  const VmGuard guard;
  const std::string file = guard.write_config(guard.config("mute"));
  const CommandResult late =
      guard.vmrig({"start", file, "--wait", "never printed", "--timeout", "0.3"});
  CHECK(late.status == 124);
  CHECK(contains(late.err, "never printed"));
  CHECK(guard.nothing_left());
  const CommandResult agent = guard.vmrig({"start", file, "--wait", "agent"});
  CHECK(agent.status == 2);
  CHECK(contains(agent.err, "the VM has no channel to it"));
  CHECK(guard.nothing_left());
}

TEST_CASE("a full disk behind standard output is told, a reader that left is not") {
  const VmGuard guard;
  const std::string line = "\"" + vmrig_program() + "\" help >/dev/full";
  const CommandResult result =
      run_command({.argv = {"sh", "-c", line}, .environment = {}, .input = {}});
  CHECK(result.status == 1);
  CHECK(contains(result.err, "No space left"));
}

}  // namespace
