// The words to a service manager, heard by a fake one.
#include <doctest/doctest.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <string>

#include "launcher/notify_socket.hpp"
#include "launcher/service_notifier.hpp"
#include "tests/support/fake_manager.hpp"
#include "tests/support/temp_folder.hpp"

using namespace vmrig;
using vmrig::testing::FakeManager;
using vmrig::testing::TempFolder;

namespace {

constexpr auto kNow = NotifySocket::Delivery::kNow;

}  // namespace

TEST_CASE("a service manager's variables are read, and malformed ones are as if not there") {
  const ServiceSettings all = service_settings("/run/n", "30000000", "42", 42);
  CHECK(all.notify_socket == "/run/n");
  CHECK(all.watchdog == std::chrono::seconds(30));
  CHECK(service_settings("@n", "1000", "", 42).watchdog == std::chrono::milliseconds(1));
  CHECK_FALSE(service_settings("/run/n", "30000000", "41", 42).watchdog.has_value());
  for (const char* bad : {"", "0", "-1", "1s", "99999999999999"}) {
    CHECK_FALSE(service_settings("/run/n", bad, "", 42).watchdog.has_value());
  }
  for (const std::string& bad : {std::string(), std::string("/"), std::string("run/n"),
                                 std::string("vsock:2:1"), std::string(200, '/')}) {
    CHECK(service_settings(bad, "1000", "", 42).notify_socket.empty());
  }
}

TEST_CASE("a message arrives at a path and at an abstract name") {
  const TempFolder folder;
  for (const std::string& address :
       {folder / "notify", "@vmrig-test-" + std::to_string(::getpid())}) {
    const FakeManager manager(address);
    CHECK(NotifySocket(address).tell("READY=1\nSTATUS=x", kNow));
    CHECK(manager.heard() == "READY=1\nSTATUS=x");
  }
}

TEST_CASE("without a manager, or with one that does not read, nothing blocks") {
  const TempFolder folder;
  CHECK_FALSE(NotifySocket("").tell("READY=1", kNow));
  CHECK_FALSE(NotifySocket(folder / "none").tell("READY=1", kNow));
  const FakeManager manager(folder / "deaf");
  const NotifySocket socket(folder / "deaf");
  int sent = 0;
  while (socket.tell("WATCHDOG=1", kNow)) {
    REQUIRE(++sent < 1'000'000);
  }
  CHECK(sent > 0);
  CHECK_FALSE(socket.tell("WATCHDOG=1", kNow));
  // What has to arrive waits for room, but not for ever.
  const auto begin = std::chrono::steady_clock::now();
  CHECK_FALSE(socket.tell("READY=1", NotifySocket::Delivery::kSurely));
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(10));
}

TEST_CASE("readiness, states and signs of life go out from the event loop") {
  const TempFolder folder;
  const FakeManager manager(folder / "notify");
  boost::asio::io_context context;
  ServiceNotifier notifier(
      context.get_executor(),
      {.notify_socket = folder / "notify", .watchdog = std::chrono::milliseconds(20)},
      RunMode::kDetached);
  // No sign of life before there is something to be alive.
  context.run_for(std::chrono::milliseconds(50));
  CHECK(manager.heard().empty());
  notifier.busy("populating", std::chrono::seconds(60));
  CHECK(manager.heard() == "STATUS=populating\nEXTEND_TIMEOUT_USEC=60000000");
  notifier.ready("vm1 running");
  CHECK(manager.heard() == "READY=1\nSTATUS=vm1 running\nMAINPID=" + std::to_string(::getpid()));
  context.restart();
  context.run_for(std::chrono::milliseconds(100));
  int signs = 0;
  for (std::string word = manager.heard(); !word.empty(); word = manager.heard()) {
    CHECK(word == "WATCHDOG=1");
    ++signs;
  }
  CHECK(signs >= 3);  // 20 ms, so every 10
  notifier.status("paused: the guest\npanicked\x1b[2J");
  CHECK(manager.heard() == "STATUS=paused: the guest\\npanicked\\x1b[2J");
  notifier.stopping("vm1 is being stopped", std::chrono::seconds(90));
  CHECK(manager.heard() == "STOPPING=1\nSTATUS=vm1 is being stopped\nEXTEND_TIMEOUT_USEC=90000000");
}

TEST_CASE(
    "a process that the manager has started itself is not named, and without one all is quiet") {
  const TempFolder folder;
  const FakeManager manager(folder / "notify");
  boost::asio::io_context context;
  ServiceNotifier own(context.get_executor(),
                      {.notify_socket = folder / "notify", .watchdog = std::nullopt},
                      RunMode::kForeground);
  own.ready("vm1 running");
  CHECK(manager.heard() == "READY=1\nSTATUS=vm1 running");
  ServiceNotifier none(context.get_executor(), {}, RunMode::kForeground);
  none.ready("x");
  none.stopping("x", std::chrono::seconds(1));
  CHECK(manager.heard().empty());
}
