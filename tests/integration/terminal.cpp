// vmrig on a terminal: it is shown nothing that drives it, and its end does no harm.
#include <doctest/doctest.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/mock_qmp_server.hpp"
#include "tests/support/skip.hpp"
#include "tests/support/temp_folder.hpp"
#include "tests/support/terminal.hpp"
#include "tests/support/vm_guard.hpp"

namespace {

using namespace vmrig;
using namespace vmrig::testing;

#define NEED_QEMU() \
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64")

// Clears the screen; sets its title; a C1 control; writes from right to left; rings; deletes.
const std::string kHostile =
    "x\x1b[2J\x1b]0;gotcha\x07\xc2\x9b"
    "31m\xe2\x80\xae\xe2\x81\xa6\x7f\b\r y";

std::vector<std::string> words_of(const VmGuard& guard, const std::vector<std::string>& words) {
  return guard.request(words).argv;
}

std::string shown(const VmGuard& guard, const std::vector<std::string>& words) {
  Terminal terminal(words_of(guard, words), guard.environment());
  return terminal.read_to_end();
}

// Every text in it that no reader of the record needs as it is.
void spoil(Json& value) {
  if (value.is_string()) {
    value = kHostile;
  } else if (value.is_array() || value.is_object()) {
    for (Json& each : value) spoil(each);
  }
}

std::string state_of(const VmGuard& guard, const std::string& name) {
  const Json list = guard.vmrig_json({"list", "--json"});
  if (!list.is_array() || list.empty()) return "none";
  return list.at(0).at("name") == name ? list.at(0).at("state").get<std::string>() : "none";
}

TEST_CASE("no name or text that a guest or a record brings drives a terminal") {
  NEED_QEMU();
  VmGuard guard;
  REQUIRE(guard.vmrig({"start", guard.write_config(guard.config("h"))}).status == 0);
  const Json listed = guard.vmrig_json({"list", "--json"});
  REQUIRE(::kill(listed.at(0).at("supervisor").get<pid_t>(), SIGKILL) == 0);
  REQUIRE(eventually([&] { return state_of(guard, "h") == "orphaned"; }));

  // The record, as a supervisor that was lied to could have written it.
  const std::string folder = guard.state_dir() + "/h";
  Json state = Json::parse(read_text(folder + "/state.json"));
  for (const char* key :
       {"reason", "last_end", "vmrig_version", "qemu_version", "qemu_path", "accel"}) {
    state[key] = kHostile;
  }
  for (Json& thread : state["threads"]) {
    if (thread["role"] != "vcpu") thread["role"] = kHostile;
    thread["id"] = kHostile;
  }
  state["serial_sockets"] = {kHostile};
  state["pending_unplugs"] = {kHostile};
  state["foreign_devices"] = {kHostile};
  state["host_changes"] = Json::array(
      {{{"kind", kHostile}, {"text", kHostile}, {"undo", kHostile}, {"action", nullptr}}});
  state["nics"] = Json::array({{{"id", kHostile},
                                {"interface", kHostile},
                                {"queues", 1},
                                {"vhost", false},
                                {"text", kHostile}}});
  state["restarts"] = 3;
  state["config"]["disks"] =
      Json::array({{{"id", kHostile}, {"path", "/" + kHostile}, {"format", kHostile}}});
  state["config"]["nics"] = Json::array({{{"id", kHostile}, {"mac", kHostile}}});
  state["config"]["channels"] = Json::array({{{"id", kHostile}, {"name", kHostile}}});
  state["config"]["memory"]["size"] = kHostile;
  write_text(folder + "/state.json", state.dump());
  const std::string lines = kHostile + "\n" + kHostile + "\n";
  for (const char* log : {"qemu.log", "qemu.log.1", "vmrig.log", "vmrig.log.1"}) {
    write_text(folder + "/" + log, lines);
  }
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{"list"},
                                             {"list", "--cpus"},
                                             {"list", "--json"},
                                             {"status", "h"},
                                             {"status", "h", "--json"},
                                             {"verify", "h"},
                                             {"logs", "h"},
                                             {"pause", kHostile},
                                             {"console", "h"},
                                             {"attach", "h", kHostile, "{}"},
                                             {"detach", "h", kHostile},
                                             {"set", "h", kHostile},
                                             {"plan", guard.folder() / kHostile}}) {
    CAPTURE(words.front());
    const std::string text = shown(guard, words);
    CHECK_FALSE(text.empty());
    CHECK(danger_in(text) == "");
  }
  // It is there, in a form that can be read.
  CHECK(shown(guard, {"status", "h"}).find("x\\x1b[2J") != std::string::npos);
  CHECK(shown(guard, {"logs", "h"}).find("x\\x1b[2J") != std::string::npos);
  // A config is one of the things that spoil() makes of it, each refused in words that can be read.
  spoil(state["config"]["machine"]);
  write_text(folder + "/state.json", state.dump());
  CHECK(danger_in(shown(guard, {"verify", "h"})) == "");
  CHECK(danger_in(shown(guard, {"stop", "h", "--force"})) == "");
  CHECK(guard.nothing_left());
}

TEST_CASE("events and answers of QMP are shown without what drives a terminal") {
  NEED_QEMU();
  VmGuard guard;
  REQUIRE(guard.vmrig({"start", guard.write_config(guard.config("e"))}).status == 0);
  const Json listed = guard.vmrig_json({"list", "--json"});
  REQUIRE(::kill(listed.at(0).at("supervisor").get<pid_t>(), SIGKILL) == 0);
  REQUIRE(eventually([&] { return state_of(guard, "e") == "orphaned"; }));
  // A supervisor that says what a guest has told it.
  qmp::testing::MockScript script;
  script.replies["query-status"].value = {{"status", kHostile}, {kHostile, 1}};
  script.replies["x-refuse"] = {.value = {},
                                .error_class = "GenericError",
                                .desc = kHostile,
                                .events_before = {},
                                .events_after = {},
                                .raw = {}};
  const qmp::testing::MockQmpServer server(script);
  const std::string socket = guard.state_dir() + "/e/qmp.sock";
  ::unlink(socket.c_str());
  std::filesystem::create_symlink(server.path(), socket);
  CHECK(danger_in(shown(guard, {"qmp", "e", "query-status"})) == "");
  CHECK(danger_in(shown(guard, {"qmp", "e", "x-refuse"})) == "");
  ::unlink(socket.c_str());

  qmp::testing::MockQmpServer talker(script);
  std::filesystem::create_symlink(talker.path(), socket);
  Terminal events(words_of(guard, {"events", "e", "--count", "2"}), guard.environment());
  REQUIRE(events.wait_for("following the events"));
  talker.emit("GUEST_PANICKED", {{"info", {{"text", kHostile}, {kHostile, kHostile}}}});
  talker.emit(kHostile, Json::object());
  const std::string text = events.read_to_end();
  CHECK(text.find("gotcha") != std::string::npos);
  CHECK(danger_in(text) == "");
  ::unlink(socket.c_str());
  CHECK(guard.vmrig({"stop", "e", "--force"}).status == 0);
  CHECK(guard.nothing_left());
}

TEST_CASE("a terminal that hangs up takes no VM along that was started from it") {
  NEED_QEMU();
  VmGuard guard;
  std::string line;
  for (const std::string& word :
       words_of(guard, {"start", guard.write_config(guard.config("t"))})) {
    line += "'" + word + "' ";
  }
  {
    Terminal terminal({"sh", "-c", line + "; echo started $?; exec sleep 1000"},
                      guard.environment());
    REQUIRE(terminal.wait_for("started 0"));
    terminal.hang_up();
  }
  CHECK(state_of(guard, "t") == "running");
  const auto supervisor = guard.vmrig_json({"list", "--json"}).at(0).at("supervisor").get<pid_t>();
  REQUIRE(::kill(supervisor, SIGHUP) == 0);
  CHECK(guard.vmrig({"status", "t"}).status == 0);  // answered after the signal came
  CHECK(state_of(guard, "t") == "running");
  CHECK(guard.vmrig({"stop", "t", "--force"}).status == 0);
  CHECK(guard.nothing_left());
}

TEST_CASE("a terminal that hangs up ends the VM that runs in its foreground, in order") {
  NEED_QEMU();
  VmGuard guard;
  {
    Terminal terminal(words_of(guard, {"run", guard.write_config(guard.config("f"))}),
                      guard.environment());
    REQUIRE(terminal.wait_for("runs"));
    terminal.hang_up();
    CHECK(eventually([&] { return guard.remains().empty(); }));
  }
  CHECK(guard.nothing_left());
}

}  // namespace
