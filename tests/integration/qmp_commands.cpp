// vmrig qmp as a script and at a terminal, vmrig events.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/support/skip.hpp"
#include "tests/support/vm_guard.hpp"

namespace {

using namespace vmrig;
using namespace vmrig::testing;

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::vector<Json> json_lines(const std::string& text) {
  std::vector<Json> values;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    values.push_back(Json::parse(line, nullptr, /*allow_exceptions=*/false));
  }
  return values;
}

CommandResult script(const VmGuard& guard, const std::string& name, const std::string& text,
                     std::vector<std::string> options = {}) {
  std::vector<std::string> words{"qmp", name};
  words.insert(words.end(), options.begin(), options.end());
  CommandRequest request = guard.request(std::move(words));
  request.input = text;
  return run_command(request);
}

void start_paused(const VmGuard& guard, const std::string& name) {
  REQUIRE(guard.vmrig({"start", "--paused", guard.write_config(guard.config(name))}).status == 0);
}

TEST_CASE("a script of QMP commands gets a whole reply a line and stops at the first error") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  const VmGuard guard;
  start_paused(guard, "talk");
  const CommandResult good = script(
      guard, "talk",
      "# what it is\nquery-status\n\nqom-get {\"path\": \"/machine\", \"property\": \"type\"}\n"
      "{\"execute\": \"query-name\", \"id\": {\"a\": [1]}}");
  CHECK(good.status == 0);
  CHECK(good.err.empty());
  const std::vector<Json> replies = json_lines(good.out);
  REQUIRE(replies.size() == 3);
  CHECK(replies[0].at("return").at("status") == Json("prelaunch"));
  CHECK_FALSE(replies[0].contains("id"));
  CHECK(contains(replies[1].at("return").get<std::string>(), "q35"));
  CHECK(replies[2] == Json{{"return", {{"name", "talk"}}}, {"id", {{"a", {1}}}}});

  const std::string bad = "no-such-command\nquery-status {\nquery-status\n";
  const CommandResult stopped = script(guard, "talk", bad);
  CHECK(stopped.status == 1);
  REQUIRE(json_lines(stopped.out).size() == 1);
  CHECK(json_lines(stopped.out)[0].at("error").at("class") == Json("CommandNotFound"));
  CHECK(contains(stopped.err, "line 1: CommandNotFound"));
  const CommandResult kept_going = script(guard, "talk", bad, {"--keep-going"});
  CHECK(kept_going.status == 1);
  REQUIRE(json_lines(kept_going.out).size() == 3);
  CHECK(json_lines(kept_going.out)[1].contains("error"));
  CHECK(json_lines(kept_going.out)[2].contains("return"));
  CHECK(contains(kept_going.err, "line 2: "));
  const CommandResult quiet = script(guard, "talk", bad, {"--json"});
  CHECK(quiet.status == 1);
  CHECK(quiet.out == stopped.out);
  CHECK(quiet.err.empty());
  CHECK(script(guard, "talk", "").status == 0);
  CHECK(script(guard, "talk", "quit\n").status == 0);
  CHECK(guard.nothing_left());
}

TEST_CASE("a script that waits for its next line ends when the VM does") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  const VmGuard guard;
  start_paused(guard, "brief");
  CommandRequest request = guard.request({"qmp", "brief"});
  request.keep_input_open = true;
  RunningCommand talk(request);
  talk.write_input("query-status\n");
  REQUIRE(talk.wait_for_out("prelaunch"));
  CHECK(guard.vmrig({"stop", "brief", "--force"}).status == 0);
  CHECK(talk.wait_for_err("ended"));  // with its input still open
  const CommandResult& result = talk.wait();
  CHECK_FALSE(result.timed_out);
  CHECK(result.status == 5);
  CHECK(guard.nothing_left());
}

TEST_CASE("qmp at a terminal edits, completes from the schema, shows events and restores it") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  if (run_command({.argv = {"script", "--version"}, .environment = {}, .input = {}}).status != 0) {
    SKIP_TEST("no script (bsdutils) to make a terminal");
  }
  VmGuard guard;
  guard.set_environment("XDG_STATE_HOME", guard.folder().path());
  guard.set_environment("TERM", "xterm");
  start_paused(guard, "tty");
  // The shell gets the Ctrl-C too; without a trap dash would end with it.
  const std::string command = "trap : INT; before=$(stty -g); \"" + vmrig_program() +
                              "\" --state-dir \"" + guard.state_dir() +
                              "\" qmp tty; echo ended $?; "
                              "[ \"$before\" = \"$(stty -g)\" ] && echo restored";
  const CommandRequest request{.argv = {"script", "-qec", command, "/dev/null"},
                               .environment = guard.environment(),
                               .input = {},
                               .keep_input_open = true};
  RunningCommand typing(request);
  REQUIRE(typing.wait_for_out("tty> "));
  typing.write_input("query-statu\t\r");
  CHECK(typing.wait_for_out("\"status\": \"prelaunch\""));
  typing.write_input("blockdev-add {\"driver\": \"null-c\t, \"node-n\t\"nothing\"}\r");
  typing.write_input("query-named-block-nodes\r");
  CHECK(typing.wait_for_out("\"node-name\": \"nothing\""));
  typing.write_input("half a li");
  CHECK(typing.wait_for_out("half a li"));
  CHECK(guard.vmrig({"qmp", "tty", "cont"}).status == 0);
  CHECK(typing.wait_for_out(" RESUME {}"));
  // Ctrl-C gives the line up, the arrow brings back the one before.
  typing.write_input("\x03");
  CHECK(typing.wait_for_out("^C"));
  typing.write_input("\x1b[A\x1b[A\x1b[A\r");
  CHECK(typing.wait_for_out("\"status\": \"running\""));
  typing.write_input("\x04");  // typed ahead or at the prompt: both leave
  CHECK(typing.wait_for_out("ended 0"));
  CHECK(typing.wait_for_out("restored"));
  CHECK(contains(read_text(guard.folder() / "vmrig/qmp-history"), "query-status"));

  RunningCommand left(request);
  REQUIRE(left.wait_for_out("tty> "));
  CHECK(guard.vmrig({"stop", "tty", "--force"}).status == 0);
  CHECK(left.wait_for_out("ended 0"));
  CHECK(left.wait_for_out("restored"));
  CHECK(guard.nothing_left());
}

TEST_CASE("events are printed from the moment on that the command says it is ready") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  const VmGuard guard;
  start_paused(guard, "follow");
  RunningCommand two(guard.request({"events", "follow", "--match", "STOP,RESUME", "--count", "2"}));
  RunningCommand all(guard.request({"events", "follow"}));
  RunningCommand too_many(guard.request({"events", "follow", "--count", "99"}));
  const std::string program = "\"" + vmrig_program() + "\" --state-dir \"" + guard.state_dir() +
                              "\" events follow --match RESUME --count 1 --ready-fd 3 3>\"$0\"";
  const std::string ready = guard.folder() / "ready";
  RunningCommand by_fd(
      {.argv = {"sh", "-c", program, ready}, .environment = guard.environment(), .input = {}});
  REQUIRE(two.wait_for_err("following"));
  REQUIRE(all.wait_for_err("following"));
  REQUIRE(too_many.wait_for_err("following"));
  REQUIRE(eventually([&] { return read_text(ready) == "\n"; }));
  CHECK(guard.vmrig({"qmp", "follow", "cont"}).status == 0);
  CHECK(guard.vmrig({"qmp", "follow", "stop"}).status == 0);

  CHECK(two.wait().status == 0);
  const std::vector<Json> seen = json_lines(two.out());
  REQUIRE(seen.size() == 2);
  CHECK(seen[0].at("event") == Json("RESUME"));
  CHECK(seen[1].at("event") == Json("STOP"));
  CHECK(seen[1].at("timestamp").at("seconds").is_number_integer());
  CHECK(by_fd.wait().status == 0);
  CHECK(by_fd.wait().err.empty());

  CHECK(guard.vmrig({"events", "follow", "--match", "RESUME", "--timeout", "0.1"}).status == 124);
  const CommandResult wrong = guard.vmrig({"events", "follow", "--match", "RESMUE"});
  CHECK(wrong.status == 2);
  CHECK(contains(wrong.err, "did you mean \"RESUME\"?"));

  CHECK(guard.vmrig({"stop", "follow", "--force"}).status == 0);
  CHECK(all.wait().status == 0);
  CHECK(contains(all.err(), "has ended"));
  CHECK(json_lines(all.out()).back().at("event") == Json("SHUTDOWN"));
  CHECK(too_many.wait().status == 1);
  CHECK(contains(too_many.err(), "of 99"));
  CHECK(guard.nothing_left());
}

}  // namespace
