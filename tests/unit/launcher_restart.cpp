// A supervisor that starts its QEMU anew, by a QEMU that ends on request.
#include <doctest/doctest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>

#include "hostcfg/base/error.hpp"
#include "launcher/supervisor.hpp"
#include "qmp/error.hpp"
#include "qmp/sync_client.hpp"
#include "tests/support/temp_folder.hpp"

using namespace vmrig;
using vmrig::testing::TempFolder;

namespace {

using Work = std::function<void(const StateRoot&)>;

Plan plan_with(const PowerConfig& power) {
  Plan plan;
  plan.config.name = "fake";
  plan.config.memory.size = Bytes::mib(64);
  plan.config.power = power;
  plan.config.serial.push_back({.id = "con0", .type = SerialType::kSocket, .path = {}});
  plan.qemu = VMRIG_FAKE_QEMU;
  plan.claim.vm = "fake";
  plan.fds.push_back(
      {.number = 10,
       .source = {.kind = FdSource::Kind::kListeningSocket, .name = kMonitorSocketName}});
  plan.fds.push_back(
      {.number = 11, .source = {.kind = FdSource::Kind::kListeningSocket, .name = "con0.sock"}});
  return plan;
}

struct Supervised {
  VmOutcome outcome;
  int restarts = 0;  // that were told
};

// supervise() here, and `work` in a thread of its own once the VM runs.
Supervised supervise_with(const PowerConfig& power, const Work& work, const char* mode = "work") {
  ::setenv("FAKE_QEMU", mode, 1);
  ::setenv("FAKE_QEMU_CONSOLE", "fake login: ", 1);
  const TempFolder folder;
  StateRoot root = StateRoot::open(folder / "state");
  std::thread client;
  Supervised result;
  SuperviseOptions options;
  options.on_running = [&](const VmState&) { client = std::thread([&] { work(root); }); };
  options.on_restart = [&](const VmState& state) {
    CHECK(state.state == RunState::kRestarting);
    ++result.restarts;
  };
  Plan plan = plan_with(power);
  VmState state = initial_state(plan, RunMode::kForeground);
  VmFolder vm = root.claim(root.lock(), state);
  result.outcome = supervise({.plan = std::move(plan),
                              .folder = std::move(vm),
                              .state = std::move(state),
                              .topology = std::nullopt,
                              .memory = {}},
                             std::move(options));
  client.join();
  siginfo_t info{};
  CHECK((::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 && errno == ECHILD));
  CHECK(root.list().empty());
  ::unsetenv("FAKE_QEMU");
  ::unsetenv("FAKE_QEMU_CONSOLE");
  return result;
}

qmp::Deadline soon() { return qmp::deadline_in(std::chrono::seconds(30)); }

qmp::SyncClient client_of(const StateRoot& root) {
  qmp::SyncClient client(root.folder("fake").connect(kQmpSocketName, soon()).release());
  (void)client.handshake(soon());
  return client;
}

// What a guest would do. QEMU may be gone before it answers.
void make(qmp::SyncClient& client, const char* command) {
  try {
    (void)client.execute(command);
  } catch (const qmp::Error&) {
  }
}

qmp::Event wait_for(qmp::SyncClient& client, const char* name) {
  return client.wait_event(qmp::event_named(name), soon());
}

PowerConfig restart_on_crash(int most = 10) {
  PowerConfig power;
  power.on_crash = OnEnd::kRestart;
  power.max_restarts = most;
  return power;
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string read_some(const Fd& fd, std::size_t bytes) {
  std::string text;
  while (text.size() < bytes) {
    pollfd readable{.fd = fd.get(), .events = POLLIN, .revents = 0};
    if (::poll(&readable, 1, 20'000) != 1) break;
    char buffer[256];
    const ssize_t got = ::read(fd.get(), buffer, sizeof(buffer));
    if (got <= 0) break;
    text.append(buffer, static_cast<std::size_t>(got));
  }
  return text;
}

}  // namespace

TEST_CASE("a QEMU that dies is started anew, and clients, console and state go on") {
  const Supervised done = supervise_with(restart_on_crash(), [](const StateRoot& root) {
    qmp::SyncClient client = client_of(root);
    const Fd console = root.folder("fake").connect(kConsoleSocketName, soon());
    CHECK(read_some(console, 12) == "fake login: ");
    const Json before = client.execute("vmrig-status");
    make(client, "x-die");
    const qmp::Event told = wait_for(client, "VMRIG_RESTART");
    CHECK(told.data.at("seconds") == 1);
    CHECK(told.data.at("time") == 1);
    CHECK(has(told.data.at("reason").get<std::string>(), "SIGSEGV"));
    // It can be seen, and nothing can be changed meanwhile.
    const Json waiting = client.execute("vmrig-status");
    CHECK(waiting.at("state") == "restarting");
    CHECK(has(waiting.at("reason").get<std::string>(), "started anew after 1 s, time 1 of 10"));
    CHECK(root.find("fake")->condition == VmCondition::kRestarting);
    try {
      (void)client.execute("vmrig-attach", {{"kind", "rng"}, {"device", {{"id", "r"}}}});
      FAIL("attached to no QEMU");
    } catch (const qmp::Error& error) {
      CHECK(has(error.desc(), "about to be started anew"));
    }
    CHECK_THROWS_AS((void)client.execute("query-cpus-fast"), qmp::Error);

    const qmp::Event runs = wait_for(client, "VMRIG_RESTARTED");
    const Json after = client.execute("vmrig-status");
    CHECK(after.at("state") == "running");
    CHECK(after.at("reason") == "");
    CHECK(after.at("restarts") == 1);
    CHECK(has(after.at("last_end").get<std::string>(), "SIGSEGV"));
    CHECK(after.at("qemu") != before.at("qemu"));
    CHECK(after.at("qemu").at("pid") == runs.data.at("pid"));
    CHECK(after.at("claim") == before.at("claim"));
    CHECK(after.at("live").at("qemu_status") == "running");
    CHECK(client.execute("query-cpus-fast").size() == 1);
    CHECK(read_some(console, 12) == "fake login: ");
    (void)client.execute("vmrig-stop", Json{{"force", true}});
  });
  CHECK(done.restarts == 1);
  CHECK(done.outcome.kind == VmOutcome::Kind::kStopped);
  CHECK(done.outcome.status() == ExitStatus::kDone);
}

TEST_CASE("a VM that waits to be started anew can be stopped, by command and by signal") {
  const Supervised by_command = supervise_with(restart_on_crash(), [](const StateRoot& root) {
    qmp::SyncClient client = client_of(root);
    make(client, "x-panic");
    (void)wait_for(client, "VMRIG_RESTART");
    CHECK(client.execute("vmrig-stop").at("by") == "no restart");
    CHECK_FALSE(root.find("fake").has_value());
  });
  CHECK(by_command.outcome.status() == ExitStatus::kDone);
  CHECK(has(by_command.outcome.reason, "the guest panicked"));
  const Supervised by_signal = supervise_with(restart_on_crash(), [](const StateRoot& root) {
    qmp::SyncClient client = client_of(root);
    make(client, "x-hang");
    CHECK(has(wait_for(client, "VMRIG_RESTART").data.at("reason").get<std::string>(), "watchdog"));
    ::kill(::getpid(), SIGTERM);
  });
  CHECK(by_signal.outcome.status() == ExitStatus::kDone);
}

TEST_CASE("after its last allowed restart a VM has crashed, and that is its status") {
  const Supervised done = supervise_with(restart_on_crash(2), [](const StateRoot& root) {
    qmp::SyncClient client = client_of(root);
    for (int i = 0; i < 2; ++i) {
      make(client, "x-panic");
      CHECK(wait_for(client, "VMRIG_RESTART").data.at("seconds") == 1 << i);
      (void)wait_for(client, "VMRIG_RESTARTED");
    }
    make(client, "x-panic");
  });
  CHECK(done.restarts == 2);
  CHECK(done.outcome.status() == ExitStatus::kFailed);
  CHECK(has(done.outcome.reason, "given up after 2 restarts in a row"));
}

TEST_CASE("a power-off is followed by a start where that is asked, a quit is not") {
  PowerConfig power;
  power.on_poweroff = OnEnd::kRestart;
  const Supervised done = supervise_with(power, [](const StateRoot& root) {
    qmp::SyncClient client = client_of(root);
    make(client, "x-poweroff");
    (void)wait_for(client, "VMRIG_RESTARTED");
    make(client, "quit");
  });
  CHECK(done.restarts == 1);
  CHECK(done.outcome.kind == VmOutcome::Kind::kStopped);
  const Supervised crashed = supervise_with(power, [](const StateRoot& root) {
    qmp::SyncClient client = client_of(root);
    make(client, "x-panic");
  });
  CHECK(crashed.restarts == 0);
  CHECK(crashed.outcome.status() == ExitStatus::kFailed);
}

TEST_CASE("a QEMU that does not come up anew is tried again, up to the bound") {
  const Supervised done = supervise_with(restart_on_crash(2), [](const StateRoot& root) {
    qmp::SyncClient client = client_of(root);
    ::setenv("FAKE_QEMU", "exit", 1);
    ::setenv("FAKE_QEMU_WORDS", "no such device", 1);
    make(client, "x-die");
    CHECK(wait_for(client, "VMRIG_RESTART").data.at("time") == 1);
    const qmp::Event second = wait_for(client, "VMRIG_RESTART");
    CHECK(second.data.at("time") == 2);
    CHECK(has(second.data.at("reason").get<std::string>(), "no such device"));
  });
  ::unsetenv("FAKE_QEMU_WORDS");
  CHECK(done.outcome.status() == ExitStatus::kFailed);
  CHECK(has(done.outcome.reason, "no such device"));
  CHECK(has(done.outcome.reason, "given up after 2 restarts in a row"));
}

TEST_CASE("a QEMU that stands still is ended where that is not to be kept") {
  const Supervised off = supervise_with(
      {},
      [](const StateRoot& root) {
        qmp::SyncClient client = client_of(root);
        make(client, "x-poweroff");
      },
      "stays");
  CHECK(off.outcome.status() == ExitStatus::kDone);
  const Supervised panicked = supervise_with(
      {},
      [](const StateRoot& root) {
        qmp::SyncClient client = client_of(root);
        make(client, "x-panic");
      },
      "stays");
  CHECK(panicked.outcome.kind == VmOutcome::Kind::kPanicked);
  CHECK(panicked.outcome.status() == ExitStatus::kFailed);
}

TEST_CASE("a guest that is kept after its end says why, until it is stopped") {
  PowerConfig power;
  power.on_crash = OnEnd::kPreserve;
  const Supervised kept = supervise_with(
      power,
      [](const StateRoot& root) {
        qmp::SyncClient client = client_of(root);
        make(client, "x-panic");
        (void)wait_for(client, "STOP");
        const Json status = client.execute("vmrig-status");
        CHECK(status.at("state") == "paused");
        CHECK(status.at("reason") == "the guest panicked");
        CHECK(client.execute("vmrig-stop", {{"timeout", 0.05}}).at("by") == "quit");
      },
      "stays");
  CHECK(kept.outcome.kind == VmOutcome::Kind::kPanicked);
  power = {};
  power.on_poweroff = OnEnd::kPreserve;
  const Supervised off = supervise_with(
      power,
      [](const StateRoot& root) {
        qmp::SyncClient client = client_of(root);
        make(client, "x-poweroff");
        (void)wait_for(client, "STOP");
        CHECK(client.execute("vmrig-status").at("reason") == "the guest powered off");
        (void)client.execute("vmrig-stop", {{"force", true}});
      },
      "stays");
  CHECK(off.outcome.status() == ExitStatus::kDone);
}
