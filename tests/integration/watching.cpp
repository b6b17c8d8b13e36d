// What is shown on a terminal alone: vmrig top, and the line that tells what is waited for.
#include <doctest/doctest.h>
#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <nlohmann/json.hpp>

#include "tests/support/skip.hpp"
#include "tests/support/terminal.hpp"
#include "tests/support/vm_guard.hpp"

namespace {

using namespace vmrig;
using namespace vmrig::testing;
using namespace std::chrono_literals;

constexpr std::string_view kEnterScreen = "\x1b[?1049h";
constexpr std::string_view kLeaveScreen = "\x1b[?1049l";

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

bool is_same_mode(const termios& one, const termios& other) {
  return one.c_iflag == other.c_iflag && one.c_oflag == other.c_oflag &&
         one.c_lflag == other.c_lflag && one.c_cflag == other.c_cflag;
}

// A shell in between holds the terminal open, so that its mode can be read after the program's end.
std::vector<std::string> in_shell(const VmGuard& guard, std::vector<std::string> words) {
  const std::vector<std::string> program = guard.request(std::move(words)).argv;
  std::vector<std::string> argv = {"sh", "-c", R"("$@"; echo "status $?"; read word)", "sh"};
  argv.insert(argv.end(), program.begin(), program.end());
  return argv;
}

bool has_stopped(pid_t child) {
  siginfo_t state{};
  return ::waitid(P_PID, static_cast<id_t>(child), &state, WSTOPPED | WNOHANG | WNOWAIT) == 0 &&
         state.si_pid == child;
}

struct TopVm {
  VmGuard guard;
  TopVm() {
    REQUIRE(guard.vmrig({"start", guard.write_config(guard.config("watched"))}).status == 0);
  }
  ~TopVm() {
    CHECK(guard.vmrig({"stop", "--all", "--force"}).status == 0);
    CHECK(guard.nothing_left());
  }
};

TEST_CASE("top shows threads on the whole screen, sorts by key, and gives the terminal back") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  const TopVm vm;
  Terminal top(in_shell(vm.guard, {"top", "--interval", "0.2"}), vm.guard.environment());
  const termios before = top.mode();
  REQUIRE(top.wait_for(kEnterScreen));
  CHECK(top.wait_for("watched running"));
  CHECK(top.wait_for("vcpu 0"));
  CHECK_FALSE(is_same_mode(before, top.mode()));
  top.forget();
  top.type("n");
  CHECK(top.wait_for("emulator"));
  top.type("q");
  CHECK(top.wait_for("status 0"));
  CHECK(contains(top.shown(), kLeaveScreen));
  // The last sample stays to be read.
  CHECK(top.shown().rfind("watched running") > top.shown().rfind(kLeaveScreen));
  CHECK(is_same_mode(before, top.mode()));
}

TEST_CASE("top gives the terminal back when Ctrl-C, a signal, or the VM's end ends it") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  const TopVm vm;
  {
    Terminal top(in_shell(vm.guard, {"top", "--interval", "0.2"}), vm.guard.environment());
    const termios before = top.mode();
    REQUIRE(top.wait_for("vcpu 0"));
    top.type("\x03");
    CHECK(top.wait_for("status 0"));
    CHECK(contains(top.shown(), kLeaveScreen));
    CHECK(is_same_mode(before, top.mode()));
  }
  for (const int number : {SIGTERM, SIGHUP, SIGQUIT}) {
    Terminal top(in_shell(vm.guard, {"top", "watched", "--interval", "0.2"}),
                 vm.guard.environment());
    const termios before = top.mode();
    REQUIRE(top.wait_for("vcpu 0"));
    for (const pid_t pid : vm.guard.processes()) {
      const std::string command =
          run_command({.argv = {"ps", "-o", "args=", "-p", std::to_string(pid)},
                       .environment = {},
                       .input = {}})
              .out;
      if (contains(command, "top watched") && !contains(command, "sh -c")) ::kill(pid, number);
    }
    CHECK(top.wait_for("status " + std::to_string(128 + number)));
    CHECK(contains(top.shown(), kLeaveScreen));
    CHECK(is_same_mode(before, top.mode()));
  }
  Terminal top(in_shell(vm.guard, {"top", "watched", "--interval", "0.2"}), vm.guard.environment());
  const termios before = top.mode();
  REQUIRE(top.wait_for("vcpu 0"));
  CHECK(vm.guard.vmrig({"stop", "watched", "--force"}).status == 0);
  CHECK(top.wait_for("has ended"));
  CHECK(top.wait_for("status 0"));
  CHECK(is_same_mode(before, top.mode()));
}

TEST_CASE("top fits the screen as it is resized, and is drawn anew after a pause") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  const TopVm vm;
  Terminal top(vm.guard.request({"top", "--interval", "30"}).argv, vm.guard.environment());
  REQUIRE(top.wait_for("vcpu 0"));
  // Nothing is due for half a minute but what the resize asks for.
  REQUIRE(top.wait_for("RUN%"));
  top.forget();
  top.resize(4, 30);
  REQUIRE(top.wait_for("lines more"));
  REQUIRE(top.wait_for("\x1b[J"));
  const std::size_t frame = top.shown().find("\x1b[H");
  std::string drawn = top.shown().substr(frame);
  CHECK(std::count(drawn.begin(), drawn.begin() + static_cast<std::ptrdiff_t>(drawn.find("\x1b[J")),
                   '\n') == 3);
  // Ctrl-Z: the shell's again, until it is continued.
  top.forget();
  top.type("\x1a");
  CHECK(top.wait_for(kLeaveScreen));
  // Continued before it has stopped, it would stop for good.
  REQUIRE(eventually([&top] { return has_stopped(top.pid()); }));
  ::kill(top.pid(), SIGCONT);
  CHECK(top.wait_for(kEnterScreen));
  top.type("q");
  CHECK(top.wait() == 0);
}

TEST_CASE("without a terminal top prints as many samples as asked for, one by itself") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  const TopVm vm;
  const CommandResult one = vm.guard.vmrig({"top", "--interval", "0.1"});
  CHECK(one.status == 0);
  CHECK(one.out.starts_with("NAME"));
  CHECK(contains(one.out, "vcpu 0"));
  CHECK_FALSE(contains(one.out, "\x1b"));
  const CommandResult three =
      vm.guard.vmrig({"top", "watched", "--interval", "0.1", "--count", "3", "--json"});
  CHECK(three.status == 0);
  std::string_view rest = three.out;
  for (int i = 0; i < 3; ++i) {
    const std::size_t end = rest.find('\n');
    REQUIRE(end != std::string_view::npos);
    const Json sample = Json::parse(rest.substr(0, end));
    // The samples keep their beat: one that was late leaves the next a shorter window.
    CHECK(sample.at("window_s").get<double>() > 0.05);
    CHECK(sample.at("vms").at(0).at("name") == "watched");
    CHECK(sample.at("vms").at(0).at("answers") == true);
    rest.remove_prefix(end + 1);
  }
  CHECK(rest.empty());
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"top", "--count", "0"},
        std::vector<std::string>{"top", "--interval", "0"},
        std::vector<std::string>{"top", "--sort", "colour"}}) {
    CHECK(vm.guard.vmrig(words).status == 2);
  }
  CHECK(vm.guard.vmrig({"top", "ghost"}).status == 5);
}

TEST_CASE("a wait of more than a second is told on a terminal, and erased again") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  const VmGuard guard;
  const std::string file = guard.write_config(guard.config("slow"));
  Terminal start(guard.request({"start", file, "--wait", "never printed", "--timeout", "2.5"}).argv,
                 guard.environment());
  CHECK(start.wait_for("starting \"slow\", until it prints \"never printed\", 1 of 3 s"));
  CHECK(start.wait_for(", 2 of 3 s"));
  CHECK(start.wait() == 124);
  const std::string shown = start.shown();
  CHECK(shown.rfind("\r\x1b[K") > shown.rfind(" of 3 s"));
  CHECK(shown.rfind("vmrig: wait for") > shown.rfind("\r\x1b[K"));
  // A guest without an operating system hears no power button.
  REQUIRE(guard.vmrig({"start", file}).status == 0);
  Terminal stop(guard.request({"stop", "slow", "--timeout", "1.5"}).argv, guard.environment());
  CHECK(stop.wait_for("stopping \"slow\", 1 of 2 s"));
  CHECK(stop.wait() == 0);
  CHECK(contains(stop.shown(), "stopped \"slow\" by quit"));
  CHECK(guard.nothing_left());
}

TEST_CASE("detach, pause and verify tell what they wait for; without a terminal nobody does") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  const VmGuard guard;
  Json config = guard.config("slow");
  config["machine"]["type"] = "q35";
  config["machine"]["hotplug_ports"] = 2;
  REQUIRE(guard.vmrig({"start", guard.write_config(config)}).status == 0);
  REQUIRE(guard.vmrig({"attach", "slow", "nic", R"({"id": "net1", "type": "user"})"}).status == 0);
  Terminal detach(guard.request({"detach", "slow", "net1", "--timeout", "1.5"}).argv,
                  guard.environment());
  CHECK(detach.wait_for("waiting for the guest to give \"net1\" free, 1 of 2 s"));
  CHECK(detach.wait() == 124);
  const CommandResult silent = guard.vmrig({"detach", "slow", "net1", "--timeout", "1.2"});
  CHECK(silent.status == 124);
  CHECK_FALSE(contains(silent.err, "waiting for the guest"));
  CHECK_FALSE(contains(silent.err, "\x1b"));
  Terminal verify(guard.request({"verify", "slow", "--seconds", "1.5"}).argv, guard.environment());
  CHECK(verify.wait_for("watching the threads of \"slow\", 1 of 2 s"));
  CHECK(verify.wait() >= 0);
  const pid_t supervisor =
      guard.vmrig_json({"status", "slow", "--json"}).at("supervisor").get<pid_t>();
  ::kill(supervisor, SIGSTOP);
  Terminal pause(guard.request({"pause", "slow"}).argv, guard.environment());
  CHECK(pause.wait_for("waiting for \"slow\" to answer, 1 of 5 s"));
  ::kill(supervisor, SIGCONT);
  CHECK(pause.wait() == 0);
  CHECK(guard.vmrig({"stop", "slow", "--force"}).status == 0);
  CHECK(guard.nothing_left());
}

TEST_CASE("run tells on its terminal that it is waiting for the guest to power off") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  const VmGuard guard;
  Json config = guard.config("slow");
  config["power"]["stop_timeout_s"] = 2;
  Terminal run(guard.request({"run", guard.write_config(config)}).argv, guard.environment());
  REQUIRE(run.wait_for("\"slow\" runs"));
  run.type("\x03");
  CHECK(run.wait_for("stopping \"slow\", 1 s"));
  CHECK(run.wait() == 0);
  CHECK(run.shown().rfind("\"slow\" ended") > run.shown().rfind("stopping \"slow\""));
  CHECK(guard.nothing_left());
}

TEST_CASE("every command that tells something has it as JSON, too") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  const VmGuard guard;
  const std::string file = guard.write_config(guard.config("told"));
  const Json started = guard.vmrig_json({"start", file, "--json"});
  REQUIRE(started.is_object());
  CHECK(started.at("state") == "running");
  CHECK(started.at("pid").get<int>() > 0);
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"list", "--json"},
        std::vector<std::string>{"list", "--cpus", "--json"},
        std::vector<std::string>{"status", "told", "--json"},
        std::vector<std::string>{"metrics", "told", "--json"},
        std::vector<std::string>{"top", "--interval", "0.1", "--json"},
        std::vector<std::string>{"plan", file, "--set", "name=other", "--json"},
        std::vector<std::string>{"qmp", "told", "query-status", "--json"},
        std::vector<std::string>{"host", "facts", "--json"},
        std::vector<std::string>{"vfio", "list", "--json"},
        std::vector<std::string>{"sriov", "list", "--json"},
        std::vector<std::string>{"probe", "--json"}, std::vector<std::string>{"schema", "--json"},
        std::vector<std::string>{"recover", "--json"},
        std::vector<std::string>{"version", "--json"}}) {
    const CommandResult result = guard.vmrig(words);
    CHECK_MESSAGE(result.status == 0, words.front() << ": " << result.err);
    CHECK_MESSAGE(!Json::parse(result.out, nullptr, false).is_discarded(), words.front());
  }
  // Those that say nothing say their faults so.
  for (const char* command : {"pause", "resume", "reset", "console", "logs"}) {
    const CommandResult result = guard.vmrig({command, "ghost", "--json"});
    CHECK(result.status == 5);
    CHECK_MESSAGE(Json::parse(result.err, nullptr, false).is_object(), command);
  }
  const CommandResult logs = guard.vmrig({"logs", "told", "--json"});
  CHECK(logs.status == 0);
  const Json line = Json::parse(logs.out.substr(0, logs.out.find('\n')), nullptr, false);
  REQUIRE(line.is_object());
  CHECK(line.at("log").is_string());
  CHECK(guard.vmrig({"stop", "told", "--force"}).status == 0);
  CHECK(guard.nothing_left());
}

}  // namespace
