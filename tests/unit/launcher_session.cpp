#include <doctest/doctest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/local/stream_protocol.hpp>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <thread>

#include "hostcfg/base/error.hpp"
#include "launcher/supervisor.hpp"
#include "launcher/vm_state.hpp"
#include "qmp/error.hpp"
#include "qmp/sync_client.hpp"
#include "tests/support/temp_folder.hpp"
#include "tests/unit/qmp_test_loop.hpp"

using namespace vmrig;
using vmrig::testing::TempFolder;

namespace {

// The environment that tells the fake QEMU what to do, for a test's life.
class FakeSettings {
 public:
  explicit FakeSettings(std::map<std::string, std::string> values) : values_(std::move(values)) {
    for (const auto& [name, value] : values_) ::setenv(name.c_str(), value.c_str(), 1);
  }
  FakeSettings(const FakeSettings&) = delete;
  FakeSettings& operator=(const FakeSettings&) = delete;
  ~FakeSettings() {
    for (const auto& [name, value] : values_) ::unsetenv(name.c_str());
  }

 private:
  std::map<std::string, std::string> values_;
};

Plan fake_plan() {
  Plan plan;
  plan.config.name = "fake";
  plan.config.memory.size = Bytes::mib(64);
  plan.qemu = VMRIG_FAKE_QEMU;
  plan.claim.vm = "fake";
  plan.config.serial.push_back({.id = "con0", .type = SerialType::kSocket, .path = {}});
  plan.fds.push_back(
      {.number = 10,
       .source = {.kind = FdSource::Kind::kListeningSocket, .name = kMonitorSocketName}});
  plan.fds.push_back(
      {.number = 11, .source = {.kind = FdSource::Kind::kListeningSocket, .name = "con0.sock"}});
  return plan;
}

LaunchRequest request_for(StateRoot& root, Plan plan, RunMode mode) {
  VmState state = initial_state(plan, mode);
  VmFolder folder = root.claim(root.lock(), state);
  return {.plan = std::move(plan),
          .folder = std::move(folder),
          .state = std::move(state),
          .topology = std::nullopt,
          .memory = {}};
}

bool has_children() {
  siginfo_t info{};
  return ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 || errno != ECHILD;
}

struct Failure {
  ExitStatus status = ExitStatus::kDone;
  std::string text;
  std::chrono::milliseconds took{0};
};

Failure launch_failure(std::map<std::string, std::string> settings,
                       std::chrono::milliseconds timeout = std::chrono::seconds(20),
                       Plan plan = fake_plan()) {
  const FakeSettings fake(std::move(settings));
  const TempFolder folder;
  StateRoot root = StateRoot::open(folder / "state");
  const LaunchRequest request = request_for(root, std::move(plan), RunMode::kForeground);
  boost::asio::io_context context;
  Failure failure;
  const auto begin = std::chrono::steady_clock::now();
  try {
    qmp::testing::run(context, [&]() -> boost::asio::awaitable<void> {
      LaunchOptions options;
      options.timeout = timeout;
      const Session session = co_await launch(context, request, std::move(options));
    });
  } catch (const Error& error) {
    failure.status = error.status();
    failure.text = error.what();
  }
  failure.took = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::steady_clock::now() - begin);
  CHECK_FALSE(has_children());  // gone, and reaped
  return failure;
}

bool has(const std::string& text, const std::string& part) {
  CAPTURE(text);
  const bool found = text.find(part) != std::string::npos;
  CHECK(found);
  return found;
}

}  // namespace

TEST_CASE("a QEMU that ends at once is reported with its own words, not as a time-out") {
  const Failure failure =
      launch_failure({{"FAKE_QEMU", "exit"},
                      {"FAKE_QEMU_WORDS", "qemu-system-x86_64: -device x: no such device"}});
  CHECK(failure.status == ExitStatus::kQemu);
  has(failure.text, "-device x: no such device (exit status 1)");
  CHECK(failure.took < std::chrono::seconds(5));
}

TEST_CASE("a QEMU that dies by a signal is reported with the signal and its words") {
  const Failure failure =
      launch_failure({{"FAKE_QEMU", "signal"}, {"FAKE_QEMU_WORDS", "about to crash"}});
  CHECK(failure.status == ExitStatus::kQemu);
  has(failure.text, "about to crash (signal 11 (SIGSEGV))");
}

TEST_CASE("a QEMU that ends without a word is reported so") {
  const Failure failure = launch_failure({{"FAKE_QEMU", "silent"}});
  CHECK(failure.status == ExitStatus::kQemu);
  has(failure.text, "exit status 0, and it said nothing");
}

TEST_CASE("a QEMU that hangs before its monitor serves is killed at the time-out") {
  for (const char* mode : {"mute", "quiet"}) {
    CAPTURE(mode);
    const Failure failure = launch_failure({{"FAKE_QEMU", mode}}, std::chrono::milliseconds(150));
    CHECK(failure.status == ExitStatus::kQemu);
    has(failure.text, "it did not answer within 150 ms");
    CHECK(failure.took >= std::chrono::milliseconds(150));
  }
}

TEST_CASE("a QEMU that waits for a switch of vhost-user is reported with the socket and the mend") {
  const TempFolder folder;
  const std::string socket = folder / "vhu.sock";
  Plan plan = fake_plan();
  NicConfig nic;
  nic.id = "net0";
  nic.type = NicType::kVhostUser;
  nic.vhost_user = {.socket = socket, .server = false};
  plan.config.nics = {nic};
  const auto fail = [&plan] {
    return launch_failure({{"FAKE_QEMU", "mute"}}, std::chrono::milliseconds(150), plan);
  };
  const Failure absent = fail();
  CHECK(absent.status == ExitStatus::kHost);
  has(absent.text, "start QEMU with \"net0\"");
  has(absent.text, "nobody listens on \"" + socket + "\"");
  plan.config.nics[0].vhost_user.server = true;
  has(fail().text, "no switch has connected to \"" + socket + "\"");
  // Where one listens, it is something else that QEMU is busy with.
  plan.config.nics[0].vhost_user.server = false;
  const boost::asio::local::stream_protocol::endpoint endpoint(socket);
  boost::asio::io_context context;
  boost::asio::local::stream_protocol::acceptor listening(context, endpoint);
  has(fail().text, "it did not answer within 150 ms");
  listening.close();
  has(fail().text, "nobody listens on");
}

TEST_CASE("a program that does not speak QMP is told at once") {
  const Failure failure = launch_failure({{"FAKE_QEMU", "garbage"}});
  CHECK(failure.status == ExitStatus::kQemu);
  has(failure.text, "it does not speak QMP");
  CHECK(failure.took < std::chrono::seconds(5));
}

TEST_CASE("a monitor that closes in the handshake while QEMU lives is told so") {
  for (const char* mode : {"half", "greet-close"}) {
    CAPTURE(mode);
    const Failure failure = launch_failure({{"FAKE_QEMU", mode}});
    CHECK(failure.status == ExitStatus::kQemu);
    has(failure.text, "it closed its monitor but did not end");
  }
}

TEST_CASE("a QEMU that dies in the handshake is reported with its own words") {
  const Failure failure = launch_failure(
      {{"FAKE_QEMU", "greet-die"}, {"FAKE_QEMU_WORDS", "mlockall: Cannot allocate memory"}});
  CHECK(failure.status == ExitStatus::kHost);
  has(failure.text, "mlockall: Cannot allocate memory (exit status 1)");
}

TEST_CASE("refused capabilities and a refused cont are told with QEMU's reason") {
  has(launch_failure({{"FAKE_QEMU", "refuse"}}).text, "no capabilities today");
  const Failure failure = launch_failure(
      {{"FAKE_QEMU", "refuse-cont"}, {"FAKE_QEMU_WORDS", "Failed to get 'write' lock"}});
  CHECK(failure.status == ExitStatus::kQemu);
  has(failure.text, "Failed to get 'write' lock");
}

TEST_CASE("a program that is missing is told before anything is left behind") {
  const TempFolder folder;
  StateRoot root = StateRoot::open(folder / "state");
  Plan plan = fake_plan();
  plan.qemu = "/nonexistent/qemu";
  try {
    (void)supervise(request_for(root, std::move(plan), RunMode::kForeground), {});
    FAIL("it ran");
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::kHost);
    has(error.what(), "No such file or directory");
  }
  CHECK(root.list().empty());
}

namespace {

// supervise() here, and a client in a thread of its own once the VM runs.
template <class ClientWork>
VmOutcome supervise_with(const std::string& mode, ClientWork work, SuperviseOptions options = {}) {
  const FakeSettings fake({{"FAKE_QEMU", mode}, {"FAKE_QEMU_CONSOLE", "fake login: "}});
  const TempFolder folder;
  StateRoot root = StateRoot::open(folder / "state");
  std::thread client;
  options.on_running = [&](const VmState& state) {
    CHECK(state.state == RunState::kRunning);
    CHECK(state.threads.size() == 2);
    client = std::thread([&] { work(root); });
  };
  const RunMode mode_of_run = options.mode;
  VmOutcome outcome = supervise(request_for(root, fake_plan(), mode_of_run), std::move(options));
  if (client.joinable()) client.join();
  CHECK_FALSE(has_children());
  if (outcome.status() == ExitStatus::kFailed && mode_of_run == RunMode::kDetached) {
    REQUIRE(root.find("fake").has_value());
    CHECK(root.find("fake")->condition == VmCondition::kCrashed);
  } else {
    CHECK(root.list().empty());
  }
  return outcome;
}

qmp::Deadline soon() { return qmp::deadline_in(std::chrono::seconds(20)); }

qmp::SyncClient connect_to(const StateRoot& root) {
  qmp::SyncClient client(root.folder("fake").connect(kQmpSocketName, soon()).release());
  (void)client.handshake(soon());
  return client;
}

// Returns "by", with the folder checked to be gone when the answer comes.
std::string stop(const StateRoot& root, const Json& arguments) {
  qmp::SyncClient client = connect_to(root);
  const Json answer = client.execute("vmrig-stop", arguments);
  CHECK_FALSE(root.find("fake").has_value());
  return answer.at("by").get<std::string>();
}

}  // namespace

TEST_CASE("vmrig-stop answers when QEMU and the folder are gone, and tells the rung") {
  std::string by;
  const VmOutcome outcome =
      supervise_with("work", [&](const StateRoot& root) { by = stop(root, Json::object()); });
  CHECK(by == "powerdown");
  CHECK(outcome.kind == VmOutcome::Kind::kStopped);
  CHECK(outcome.status() == ExitStatus::kDone);
}

TEST_CASE("a forced stop goes by quit") {
  std::string by;
  (void)supervise_with("work", [&](const StateRoot& root) {
    by = stop(root, Json{{"force", true}});
  });
  CHECK(by == "quit");
}

TEST_CASE("a QEMU that obeys nobody is killed, and the outcome says so") {
  std::string by;
  const VmOutcome outcome = supervise_with("deaf-stop", [&](const StateRoot& root) {
    by = stop(root, Json{{"timeout", 0.05}});
  });
  CHECK(by == "kill");
  CHECK(outcome.status() == ExitStatus::kKilled);
}

TEST_CASE("vmrig-stop refuses arguments that it does not know") {
  (void)supervise_with("work", [&](const StateRoot& root) {
    qmp::SyncClient client = connect_to(root);
    CHECK_THROWS_AS((void)client.execute("vmrig-stop", Json{{"timeout", "5"}}), qmp::Error);
    CHECK_THROWS_AS((void)client.execute("vmrig-stop", Json{{"timeout", -1}}), qmp::Error);
    CHECK_THROWS_AS((void)client.execute("vmrig-stop", Json{{"now", true}}), qmp::Error);
    (void)client.execute("vmrig-stop", Json{{"force", true}});
  });
}

TEST_CASE("vmrig-status answers with the state and QEMU's own word") {
  (void)supervise_with("work", [&](const StateRoot& root) {
    qmp::SyncClient client = connect_to(root);
    const Json status = client.execute("vmrig-status");
    CHECK(status.at("name") == "fake");
    CHECK(status.at("live").at("qemu_status") == "running");
    CHECK(status.at("live").at("qmp_clients") == 1);
    CHECK(vm_state_from_json(status).qemu.pid > 0);
    (void)client.execute("vmrig-stop", Json{{"force", true}});
  });
}

TEST_CASE("a QEMU that crashes ends a VM with status 1; its remains are kept when detached") {
  const auto crash = [](const StateRoot& root) {
    qmp::SyncClient client = connect_to(root);
    CHECK_THROWS_AS((void)client.execute("x-die"), qmp::Error);
  };
  const VmOutcome outcome = supervise_with("work", crash);
  CHECK(outcome.kind == VmOutcome::Kind::kCrashed);
  CHECK(outcome.status() == ExitStatus::kFailed);
  has(outcome.reason, "signal 11 (SIGSEGV)");
  SuperviseOptions detached;
  detached.mode = RunMode::kDetached;
  (void)supervise_with("work", crash, std::move(detached));
}

TEST_CASE("quit by any client ends the VM well") {
  const VmOutcome outcome = supervise_with("work", [](const StateRoot& root) {
    qmp::SyncClient client = connect_to(root);
    (void)client.execute("quit");
  });
  CHECK(outcome.status() == ExitStatus::kDone);
}

TEST_CASE("the wait for a text on the console ends when it was printed") {
  SuperviseOptions options;
  options.wait_for_text = "login:";
  options.wait_deadline = soon();
  const VmOutcome outcome = supervise_with(
      "work",
      [](const StateRoot& root) {
        const Fd console = root.folder("fake").connect(kConsoleSocketName, soon());
        std::string text;
        while (text.size() < 12) {
          pollfd readable{.fd = console.get(), .events = POLLIN, .revents = 0};
          REQUIRE(::poll(&readable, 1, 20'000) == 1);
          char buffer[64];
          const ssize_t got = ::read(console.get(), buffer, sizeof(buffer));
          REQUIRE(got > 0);
          text.append(buffer, static_cast<std::size_t>(got));
        }
        CHECK(text == "fake login: ");  // printed before this client came
        (void)stop(root, Json{{"force", true}});
      },
      std::move(options));
  CHECK(outcome.status() == ExitStatus::kDone);
}

TEST_CASE("a text that does not come is told when time is up, and the VM is ended") {
  SuperviseOptions options;
  options.wait_for_text = "never printed";
  options.wait_deadline = qmp::deadline_in(std::chrono::milliseconds(200));
  try {
    (void)supervise_with(
        "work", [](const StateRoot&) { FAIL("it ran"); }, std::move(options));
    FAIL("it waited for nothing");
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::kTimeUp);
  }
  CHECK_FALSE(has_children());
}

TEST_CASE("TERM powers the guest down, and a second TERM ends it at once") {
  const VmOutcome once =
      supervise_with("work", [](const StateRoot&) { ::kill(::getpid(), SIGTERM); });
  CHECK(once.reason == "stopped by powerdown");
  const auto begin = std::chrono::steady_clock::now();
  const VmOutcome twice = supervise_with("deaf-stop", [](const StateRoot& root) {
    qmp::SyncClient client = connect_to(root);
    ::kill(::getpid(), SIGTERM);
    // The first has arrived when the VM is stopping; two at once would be one to the kernel.
    const qmp::Deadline limit = soon();
    while (client.execute("vmrig-status").at("state") != "stopping") {
      REQUIRE(std::chrono::steady_clock::now() < limit);
    }
    ::kill(::getpid(), SIGTERM);
  });
  CHECK(twice.status() == ExitStatus::kKilled);
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(15));  // not 60
}
