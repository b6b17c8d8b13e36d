// Guests and clients that flood: the supervisor neither waits for them nor grows.
#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <string>

#include "launcher/state_dir.hpp"
#include "qmp/sync_client.hpp"
#include "qmp/unix_socket.hpp"
#include "tests/support/guest.hpp"
#include "tests/support/guest_console.hpp"
#include "tests/support/process_memory.hpp"
#include "tests/support/skip.hpp"
#include "tests/support/vm_guard.hpp"

namespace {

using namespace vmrig;
using namespace vmrig::testing;

constexpr std::size_t kMib = std::size_t{1} << 20;

pid_t supervisor_of(const VmGuard& guard) {
  return guard.vmrig_json({"list", "--json"}).at(0).at("supervisor").get<pid_t>();
}

std::size_t size_of(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? static_cast<std::size_t>(status.st_size) : 0;
}

TEST_CASE(
    "a console that never stops printing, and clients that don't read, cost a bounded memory") {
  NEED_GUEST();
  VmGuard guard;
  REQUIRE(guard.vmrig({"start", guard.write_config(guest_config(guard, "f"))}).status == 0);
  const std::string socket = guard.state_dir() + "/f/console.sock";
  GuestConsole guest(socket);
  const pid_t supervisor = supervisor_of(guard);
  forget_peak(supervisor);
  const std::size_t before = resident_bytes(supervisor);
  // Four that never read, each at most its megabyte; the fifth, the guest's own user, does.
  std::vector<qmp::Fd> deaf;
  for (int i = 0; i < 4; ++i) {
    deaf.push_back(qmp::connect_unix(socket, qmp::deadline_in(std::chrono::seconds(5))));
  }
  (void)guest.run("head -c 6000000 /dev/zero | tr '\\0' 'x'; echo", std::chrono::minutes(3));
  const CommandResult status = guard.vmrig({"status", "f"});
  CHECK(status.status == 0);
  CHECK(status.took < std::chrono::seconds(10));
  const std::size_t most = peak_bytes(supervisor);
  MESSAGE("6 MB of console, 4 deaf clients: supervisor " << before / 1024 << " KiB before, "
                                                         << most / 1024 << " KiB at most");
  CHECK(most < before + 12 * kMib);
  // They were dropped, with the log's word for it.
  CHECK(guard.vmrig_json({"status", "f", "--json"}).at("live").at("console_clients") == 1);
  CHECK(guard.vmrig({"stop", "f", "--force"}).status == 0);
  CHECK(guard.nothing_left());
}

TEST_CASE("a storm of events costs a bounded memory, a bounded log, and no other client") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  VmGuard guard;
  REQUIRE(guard.vmrig({"start", guard.write_config(guard.config("s"))}).status == 0);
  const std::string socket = guard.state_dir() + "/s/qmp.sock";
  const pid_t supervisor = supervisor_of(guard);
  forget_peak(supervisor);
  const std::size_t before = resident_bytes(supervisor);
  std::vector<qmp::Fd> deaf;
  for (int i = 0; i < 8; ++i) {
    deaf.push_back(qmp::connect_unix(socket, qmp::deadline_in(std::chrono::seconds(5))));
    const std::string hello = R"({"execute": "qmp_capabilities"})";
    REQUIRE(::send(deaf.back().get(), hello.data(), hello.size(), MSG_NOSIGNAL) > 0);
  }
  // As a guest that resets in a loop would have QEMU say; by QMP it goes faster.
  qmp::SyncClient storm =
      qmp::SyncClient::connect(socket, qmp::deadline_in(std::chrono::seconds(5)));
  (void)storm.handshake(qmp::deadline_in(std::chrono::seconds(5)));
  int events = 0;
  const qmp::Subscription counting =
      storm.client().subscribe([&events](const qmp::Event&) { ++events; });
  const qmp::Deadline until = qmp::deadline_in(std::chrono::seconds(120));
  constexpr int kBatches = 400;
  for (int i = 0; i < kBatches; ++i) {
    const std::vector<qmp::Request> pair = {{"stop", Json::object()}, {"cont", Json::object()}};
    std::vector<qmp::Request> batch;
    for (int j = 0; j < 20; ++j) batch.insert(batch.end(), pair.begin(), pair.end());
    for (const qmp::Outcome& outcome : storm.execute_all(batch, until)) CHECK(outcome.ok());
  }
  const std::size_t most = peak_bytes(supervisor);
  MESSAGE(events << " events, 8 deaf clients: supervisor " << before / 1024 << " KiB before, "
                 << most / 1024 << " KiB at most");
  CHECK(events >= kBatches * 40);
  CHECK(most < before + 16 * kMib);
  CHECK(size_of(guard.state_dir() + "/s/vmrig.log") < kMib);
  const CommandResult status = guard.vmrig({"qmp", "s", "query-status"});
  CHECK(status.status == 0);
  CHECK(guard.vmrig({"stop", "s", "--force"}).status == 0);
  CHECK(guard.nothing_left());
}

TEST_CASE("a QEMU that writes its log without end is held to a megabyte, and logs follows it") {
  NEED_GUEST();
  VmGuard guard;
  Json config = guest_config(guard, "l");
  // Each access of the guest's to a PCI device's configuration is a line.
  config["qemu_args"] = {"-trace", "pci_cfg_read", "-trace", "pci_cfg_write", "-d", "int"};
  REQUIRE(guard.vmrig({"start", guard.write_config(config)}).status == 0);
  RunningCommand follow(guard.request({"logs", "l", "--follow"}));
  static constexpr std::string_view kNeverPrinted = "\x01";
  const std::string log = guard.state_dir() + "/l/qemu.log";
  const std::string old = log + ".1";
  const pid_t supervisor = supervisor_of(guard);
  std::size_t largest = 0;
  // Cut at least three times while the guest boots.
  ino_t inode = 0;
  int cuts = 0;
  const bool was_cut = eventually(
      [&] {
        struct stat status {};
        follow.wait_for_out(kNeverPrinted, std::chrono::milliseconds(1));  // reads what is there
        largest = std::max(largest, size_of(log));
        if (::stat(old.c_str(), &status) == 0 && status.st_ino != inode) {
          inode = status.st_ino;
          ++cuts;
        }
        return cuts >= 3;
      },
      kGuestBootTime);
  MESSAGE("qemu.log: " << largest / 1024 << " KiB at most between " << cuts << " cuts; supervisor "
                       << peak_bytes(supervisor) / 1024 << " KiB");
  CHECK(was_cut);
  CHECK(largest < 64 * kMib);
  CHECK(size_of(old) <= kMaxLogBytes / 2);
  CHECK(guard.vmrig({"stop", "l", "--force"}).status == 0);
  const CommandResult& followed = follow.wait();
  CHECK(followed.status == 0);
  CHECK(followed.out.size() > kMaxLogBytes);
  CHECK(guard.nothing_left());
}

}  // namespace
