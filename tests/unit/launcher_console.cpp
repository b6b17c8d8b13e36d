#include <doctest/doctest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "launcher/console.hpp"
#include "launcher/qemu_failure.hpp"
#include "launcher/state_dir.hpp"
#include "qmp/unix_socket.hpp"
#include "tests/support/temp_folder.hpp"
#include "tests/unit/qmp_test_loop.hpp"

using namespace vmrig;
using qmp::testing::soon;
using vmrig::testing::TempFolder;

namespace {

// A console with the guest's end of the serial port in the test's hand.
struct Rig {
  explicit Rig(ConsoleOptions options = {}) {
    auto [ours, theirs] = qmp::socket_pair();
    guest.reset(ours.release());
    console.emplace(loop.get_executor(), Fd(theirs.release()),
                    Fd(qmp::listen_unix(path()).release()), std::move(options));
  }
  std::string path() const { return folder / "console.sock"; }
  Fd client() const { return Fd(qmp::connect_unix(path(), soon()).release()); }

  // Runs the loop until the condition holds.
  void until(const std::function<bool()>& condition) {
    const qmp::Deadline limit = soon();
    while (!condition()) {
      REQUIRE(std::chrono::steady_clock::now() < limit);
      loop.run_one_for(std::chrono::milliseconds(20));
    }
  }
  void print(const std::string& text) {
    REQUIRE(::send(guest.get(), text.data(), text.size(), MSG_NOSIGNAL) ==
            static_cast<ssize_t>(text.size()));
  }
  std::string receive(int fd, std::size_t bytes) {
    std::string text;
    until([&] {
      char buffer[4096];
      const ssize_t got = ::recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);
      if (got > 0) text.append(buffer, static_cast<std::size_t>(got));
      return text.size() >= bytes;
    });
    return text;
  }

  TempFolder folder;
  boost::asio::io_context loop;
  Fd guest;
  std::optional<ConsoleServer> console;
};

}  // namespace

TEST_CASE("a ring keeps the newest bytes, oldest first") {
  ByteRing ring(8);
  ring.append("abc");
  CHECK(ring.content() == "abc");
  ring.append("defgh");
  CHECK(ring.content() == "abcdefgh");
  ring.append("ij");
  CHECK(ring.content() == "cdefghij");
  ring.append("0123456789");
  CHECK(ring.content() == "23456789");
  CHECK(ring.size() == 8);
}

TEST_CASE("a late client gets what was printed before, then what comes; two get the same") {
  Rig rig;
  rig.print("early ");
  rig.until([&] { return rig.console->ring() == "early "; });
  const Fd first = rig.client();
  const Fd second = rig.client();
  rig.until([&] { return rig.console->client_count() == 2; });
  rig.print("late");
  CHECK(rig.receive(first.get(), 10) == "early late");
  CHECK(rig.receive(second.get(), 10) == "early late");
}

TEST_CASE("what clients type reaches the guest") {
  Rig rig;
  const Fd client = rig.client();
  REQUIRE(::send(client.get(), "ls\r", 3, 0) == 3);
  CHECK(rig.receive(rig.guest.get(), 3) == "ls\r");
}

TEST_CASE("a client that does not read is dropped, and others are not held up") {
  ConsoleOptions options;
  options.max_queued_bytes = std::size_t{256} << 10;
  std::string logged;
  options.log = [&](const std::string& message) { logged += message; };
  Rig rig(options);
  const Fd slow = rig.client();
  rig.until([&] { return rig.console->client_count() == 1; });
  const std::string chunk(1024, 'x');
  for (int count = 0; count < 8192 && rig.console->client_count() == 1; ++count) {
    rig.print(chunk);
    while (rig.loop.poll() > 0) {
    }
  }
  CHECK(rig.console->client_count() == 0);
  CHECK(logged.find("dropped") != std::string::npos);
  const Fd quick = rig.client();
  rig.until([&] { return rig.console->client_count() == 1; });
  rig.print("still here");
  const std::string text = rig.receive(quick.get(), rig.console->ring().size());
  CHECK(text.size() <= (std::size_t{64} << 10) + 10);
}

TEST_CASE("a client that has sent all it had still gets the output; one that left is forgotten") {
  Rig rig;
  Fd client = rig.client();
  rig.until([&] { return rig.console->client_count() == 1; });
  ::shutdown(client.get(), SHUT_WR);
  rig.print("answer");
  CHECK(rig.receive(client.get(), 6) == "answer");
  client.reset();
  rig.until([&] { return rig.console->client_count() == 0; });
}

TEST_CASE("a text is found across two prints") {
  Rig rig;
  rig.print("lo");
  rig.until([&] { return rig.console->ring() == "lo"; });
  rig.print("gin:");
  qmp::testing::run(rig.loop, [&]() -> boost::asio::awaitable<void> {
    std::string text = "login:";
    const bool found = co_await rig.console->wait_for_text(std::move(text), soon());
    CHECK(found);
  });
}

TEST_CASE("the wait for a text ends at the deadline and at the console's end") {
  Rig rig;
  qmp::testing::run(rig.loop, [&]() -> boost::asio::awaitable<void> {
    std::string text = "login:";
    const bool in_time = co_await rig.console->wait_for_text(text, qmp::testing::at_once());
    CHECK_FALSE(in_time);
    rig.guest.reset();
    const bool before_end = co_await rig.console->wait_for_text(text, soon());
    CHECK_FALSE(before_end);
  });
}

TEST_CASE("QEMU's words are explained: what is known gets a status and a mend") {
  const Error lock = qemu_failure(
      "/usr/bin/qemu", "exit status 1",
      "2026-01-01T00:00:00Z qemu-system-x86_64: -device {..}: Failed to get \"write\" lock\n"
      "Is another process using the image [/x.qcow2]?\n");
  CHECK(lock.status() == ExitStatus::kBusy);
  CHECK(std::string(lock.what()).find("/x.qcow2") != std::string::npos);
  CHECK_FALSE(lock.parts().mend.empty());
  CHECK(qemu_failure("q", "exit status 1", "qemu: unable to map backing store for guest RAM: x")
            .status() == ExitStatus::kHost);
  CHECK(qemu_failure("q", "exit status 1", "something new").status() == ExitStatus::kQemu);
  const Error quiet = qemu_failure("q", "exit status 3", "warning: only this\n");
  CHECK(quiet.parts().cause == "warning: only this (exit status 3)");
}

TEST_CASE("QEMU's words can't write to the user's terminal") {
  const Error error = qemu_failure("q", "exit status 1", "bad \x1b[31mred\n");
  CHECK(std::string(error.what()).find('\x1b') == std::string::npos);
  CHECK(std::string(error.what()).find("bad ") != std::string::npos);
}
