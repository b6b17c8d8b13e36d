#include "qmp/probe.hpp"

#include <doctest/doctest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "qmp/client.hpp"
#include "qmp/fd.hpp"
#include "qmp/sync_client.hpp"
#include "qmp/unix_socket.hpp"
#include "tests/unit/qmp_test_loop.hpp"

namespace {

using qmp::Json;
using qmp::testing::run;
using qmp::testing::soon;

std::vector<std::string> qemu_binaries() {
  std::vector<std::string> found;
  if (::access("/usr/bin/qemu-system-x86_64", X_OK) == 0) {
    found.emplace_back("/usr/bin/qemu-system-x86_64");
  }
  for (const char* variable : {"VMRIG_QEMU10", "VMRIG_QEMU52", "VMRIG_QEMU111"}) {
    const char* other = std::getenv(variable);
    if (other != nullptr && *other != '\0') found.emplace_back(other);
  }
  return found;
}

/// A QEMU without a machine; its monitor is our end of a socket pair. Ended with the object.
class Qemu {
 public:
  explicit Qemu(const std::string& binary) {
    auto [ours, theirs] = qmp::socket_pair();
    constexpr int kMonitorFd = 10;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, theirs.get(), kMonitorFd);
    std::vector<std::string> words{binary,     "-M", "none",     "-nodefaults",       "-display",
                                   "none",     "-S", "-chardev", "socket,id=m,fd=10", "-qmp",
                                   "chardev:m"};
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    const int result =
        ::posix_spawn(&pid_, binary.c_str(), &actions, nullptr, argv.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    REQUIRE(result == 0);
    monitor_ = std::move(ours);
  }
  ~Qemu() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
  }
  Qemu(const Qemu&) = delete;
  Qemu& operator=(const Qemu&) = delete;
  int take_monitor() { return monitor_.release(); }

 private:
  pid_t pid_ = -1;
  qmp::Fd monitor_;
};

}  // namespace

TEST_CASE("a real QEMU is probed, and says what all supported ones can do") {
  const auto binaries = qemu_binaries();
  if (binaries.empty()) {
    MESSAGE("SKIPPED: qmp probe: no qemu-system-x86_64");
    return;
  }
  for (const std::string& binary : binaries) {
    CAPTURE(binary);
    Qemu qemu(binary);
    boost::asio::io_context loop;
    qmp::Client client(loop.get_executor(), qemu.take_monitor());
    qmp::QemuCaps caps;
    run(loop, [&]() -> boost::asio::awaitable<void> {
      co_await client.handshake(soon());
      caps = co_await qmp::probe(client, soon());
    });
    CHECK(caps.version.major >= 5);
    for (const char* command : {"quit", "device_add", "object-add", "blockdev-add", "getfd"}) {
      CHECK(caps.has_command(command));
    }
    CHECK(caps.events.contains("DEVICE_DELETED"));
    for (const char* device : {"virtio-net-pci", "virtio-blk-pci", "pcie-root-port", "vfio-pci"}) {
      CHECK(caps.has_device(device));
    }
    CHECK(caps.cpu_models.contains("host"));
    CHECK(caps.cpu_models.contains("qemu64"));
    CHECK_FALSE(caps.has_device("qemu64-x86_64-cpu"));
    CHECK(caps.has_accelerator("kvm"));
    CHECK(caps.has_accelerator("tcg"));
    CHECK(caps.has_object("memory-backend-file"));
    CHECK(caps.aio_modes.contains("threads"));
    CHECK(caps.aio_modes.contains("native"));
    CHECK(caps.blockdev_drivers.contains("qcow2"));
    CHECK(caps.netdev_backends.contains("tap"));
    CHECK(caps.chardev_backends.contains("socket"));
    CHECK(caps.has_device_property("virtio-net-pci", "mq"));
    CHECK(caps.has_device_property("vfio-pci", "host"));
    CHECK(caps.has_device_property("ICH9-LPC", "disable_s3"));
    CHECK(caps.has_machine_property("q35", "hpet"));
    CHECK(caps.has_machine_property("pc", "hpet"));
    REQUIRE(caps.machine("q35") != nullptr);
    CHECK(caps.machine("q35")->max_cpus >= 255);
    CHECK(caps.machine("q35")->default_ram_id == "pc.ram");
    CHECK(caps.overcommit_mem_lock != qmp::MemLockForm::none);
    CHECK(caps.json_cli_object == caps.has_object("thread-context"));
    CHECK_FALSE((caps.json_cli_object && caps.object_add_props));
    const std::string text = caps.to_json().dump();
    MESSAGE(binary << ": capabilities take " << text.size() << " bytes");
    CHECK(text.size() < 48 * 1024);
    CHECK(qmp::QemuCaps::parse(text) == caps);
  }
}

TEST_CASE("a real QEMU takes an fd by getfd and gives the same class of errors as the server") {
  const auto binaries = qemu_binaries();
  if (binaries.empty()) {
    MESSAGE("SKIPPED: qmp getfd: no qemu-system-x86_64");
    return;
  }
  for (const std::string& binary : binaries) {
    CAPTURE(binary);
    Qemu qemu(binary);
    qmp::ClientOptions options;
    options.oob = qmp::OobUse::when_offered;
    qmp::SyncClient client(qemu.take_monitor(), options);
    CHECK(client.handshake(soon()).offers("oob"));
    auto [ours, theirs] = qmp::socket_pair();
    qmp::ExecuteOptions with_fd;
    with_fd.fds = {theirs.get()};
    CHECK(client.execute("getfd", Json{{"fdname", "f0"}}, with_fd) == Json::object());
    CHECK(client.execute("closefd", Json{{"fdname", "f0"}}) == Json::object());
    try {
      client.execute("closefd", Json{{"fdname", "f0"}});
      FAIL("no error");
    } catch (const qmp::Error& error) {
      CHECK(error.error_class() == "GenericError");
    }
    client.execute("quit");
    CHECK(client.wait_event(qmp::event_named("SHUTDOWN"), soon()).data.at("reason") ==
          "host-qmp-quit");
  }
}
