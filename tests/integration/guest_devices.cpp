// What the test guest can see: every kind of device that comes at run time, by plain QMP. What
// hotplug tests find missing in the guest is then not the guest's fault.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <stdexcept>

#include "qmp/sync_client.hpp"
#include "tests/support/guest_console.hpp"
#include "tests/support/skip.hpp"

namespace {

using namespace vmrig;
using namespace vmrig::testing;

class Monitor {
 public:
  explicit Monitor(const std::string& socket)
      : client_(qmp::SyncClient::connect(socket, deadline())) {
    client_.handshake(deadline());
  }

  Json execute(const std::string& command, Json arguments) {
    return client_.execute(command, std::move(arguments),
                           {.deadline = deadline(), .oob = false, .fds = {}});
  }
  void add(Json device) { execute("device_add", std::move(device)); }
  // Asks for it, and waits until the guest has let go.
  void remove(const std::string& id) {
    execute("device_del", {{"id", id}});
    const auto is_gone = [&id](const qmp::Event& event) {
      return event.name == "DEVICE_DELETED" && event.data.value("device", "") == id;
    };
    client_.wait_event(is_gone, deadline());
  }

 private:
  static qmp::Deadline deadline() { return qmp::deadline_in(std::chrono::seconds(30)); }

  qmp::SyncClient client_;
};

struct Guest {
  Guest(VmGuard& guard, const std::string& machine)
      : started(start(guard, machine)),
        monitor(guard.state_dir() + "/devices/qmp.sock"),
        console(guard.state_dir() + "/devices/console.sock") {}

  static CommandResult start(VmGuard& guard, const std::string& machine) {
    Json config = guest_config(guard, "devices");
    config["machine"]["type"] = machine;
    config["machine"]["hotplug_ports"] = 8;
    config["security"]["user"] = "caller";  // it opens files by their names, as QMP tells it
    config["rng"] = false;  // the first root port is for the first device that comes
    config["cpu"] = {{"vcpus", 1}, {"max_vcpus", 2}};
    config["memory"]["max"] = "2GiB";
    config["memory"]["slots"] = 4;
    CommandResult result =
        guard.vmrig({"start", guard.write_config(config), "--wait", kGuestGreeting});
    if (result.status != 0) throw std::runtime_error(result.err);
    return result;
  }

  CommandResult started;
  Monitor monitor;
  GuestConsole console;
};

Json disk_node(const TempFolder& folder, const std::string& name) {
  write_text(folder / name, std::string(1 << 20, 'x'));
  return {{"driver", "raw"},
          {"node-name", name},
          {"file", {{"driver", "file"}, {"filename", folder / name}}}};
}

TEST_CASE("a guest's console gives a command's output and status") {
  NEED_GUEST();
  VmGuard guard;
  Guest guest(guard, "q35");
  GuestConsole& console = guest.console;
  CHECK(console.run("echo \"it's $((6 * 7))\"; printf two") == "it's 42\ntwo");
  CHECK(console.run("true").empty());
  const GuestAnswer failed = console.ask("echo wrong >&2; exit 3");
  CHECK(failed.status == 3);
  CHECK(failed.output == "wrong");
  CHECK_THROWS_WITH_AS(console.run("false"), doctest::Contains("status 1"), std::runtime_error);
  // Its standard input is no part of the protocol.
  CHECK(console.run("cat; echo end") == "end");
  CHECK(console.await("test -e /proc/self && echo there") == "there");
  CHECK_THROWS_AS(console.await("test -e /nowhere", std::chrono::seconds(1)), std::runtime_error);
  CHECK_THROWS_AS(console.ask("sleep 5", std::chrono::milliseconds(50)), std::runtime_error);
  // A second client is given what was printed before, and is not confused by it.
  GuestConsole second(guard.state_dir() + "/devices/console.sock");
  CHECK(second.run("echo second") == "second");
}

void check_pci_devices(Guest& guest, const TempFolder& folder, const std::string& bus) {
  Monitor& qmp = guest.monitor;
  GuestConsole& console = guest.console;
  int port = 0;
  const auto plug = [&](Json device) {
    device["bus"] = bus.empty() ? "vmrig-port" + std::to_string(port++) : bus;
    qmp.add(std::move(device));
  };
  qmp.execute("blockdev-add", disk_node(folder, "n0"));
  plug({{"driver", "virtio-blk-pci"}, {"id", "d0"}, {"drive", "n0"}, {"serial", "serial0"}});
  console.await("grep -qx serial0 /sys/block/vda/serial && test -b /dev/vda");
  CHECK(console.run("dd if=/dev/vda bs=4 count=1 2>/dev/null") == "xxxx");

  qmp.execute("netdev_add", {{"type", "user"}, {"id", "h0"}});
  plug({{"driver", "virtio-net-pci"},
        {"id", "v0"},
        {"netdev", "h0"},
        {"mac", "52:54:00:00:00:07"},
        {"romfile", ""}});
  console.await("grep -q 52:54:00:00:00:07 /sys/class/net/*/address && ip -4 addr | grep 10.0.2.");

  qmp.execute("object-add", {{"qom-type", "rng-builtin"}, {"id", "r0s"}});
  plug({{"driver", "virtio-rng-pci"}, {"id", "r0"}, {"rng", "r0s"}});
  console.await("grep -q virtio_rng /sys/class/misc/hw_random/rng_available");

  plug({{"driver", "virtio-scsi-pci"}, {"id", "s0"}});
  qmp.execute("blockdev-add", disk_node(folder, "n1"));
  qmp.add({{"driver", "scsi-hd"}, {"id", "d1"}, {"drive", "n1"}, {"bus", "s0.0"}});
  console.await("test -b /dev/sda");

  plug({{"driver", "qemu-xhci"}, {"id", "x0"}});
  qmp.add({{"driver", "usb-tablet"}, {"id", "t0"}, {"bus", "x0.0"}});
  console.await("grep -q 'QEMU USB Tablet' /proc/bus/input/devices");
  qmp.execute("blockdev-add", disk_node(folder, "n2"));
  qmp.add({{"driver", "usb-storage"}, {"id", "d2"}, {"drive", "n2"}, {"bus", "x0.0"}});
  console.await("test -b /dev/sdb");

  // A qemu-xhci that had devices is unplugged, but its DEVICE_DELETED never comes (QEMU 7.2).
  for (const std::string id : {"d2", "t0", "d1", "r0", "v0", "d0", "s0"}) {
    CAPTURE(id);
    qmp.remove(id);
  }
  console.await("! grep -q 52:54:00:00:00:07 /sys/class/net/*/address");
  console.await("! ls /sys/block | grep -q '[sv]d'");
  CHECK(console.run("cat /sys/class/misc/hw_random/rng_available").empty());
}

TEST_CASE("the test guest of a q35 sees disks, NICs, rng and USB devices come and go") {
  NEED_GUEST();
  VmGuard guard;
  const TempFolder folder;
  Guest guest(guard, "q35");
  check_pci_devices(guest, folder, "");
}

TEST_CASE("the test guest of a pc sees disks, NICs, rng and USB devices come and go") {
  NEED_GUEST();
  VmGuard guard;
  const TempFolder folder;
  Guest guest(guard, "pc");
  check_pci_devices(guest, folder, "pci.0");
}

TEST_CASE("the test guest takes hot-added CPUs and memory into use, and gives memory back") {
  NEED_GUEST();
  VmGuard guard;
  Guest guest(guard, "q35");
  Monitor& qmp = guest.monitor;
  GuestConsole& console = guest.console;

  for (const Json& slot : qmp.execute("query-hotpluggable-cpus", Json::object())) {
    if (slot.contains("qom-path")) continue;
    Json device = slot.at("props");
    device["driver"] = slot.at("type");
    device["id"] = "cpu1";
    qmp.add(std::move(device));
  }
  console.await("test $(nproc) = 2");
  // It is not removed: QEMU 7.2 corrupts its heap when an emulated CPU goes.

  constexpr std::int64_t kSize = 128 << 20;
  const std::string memory = "awk '/^MemTotal/ {print int($2 / 1024)}' /proc/meminfo";
  const int before = std::stoi(console.run(memory));
  qmp.execute("object-add", {{"qom-type", "memory-backend-ram"}, {"id", "m0"}, {"size", kSize}});
  qmp.add({{"driver", "pc-dimm"}, {"id", "dimm0"}, {"memdev", "m0"}});
  console.await("test $(" + memory + ") -ge " + std::to_string(before + 100));
  qmp.remove("dimm0");
  console.await("test $(" + memory + ") -le " + std::to_string(before));

  qmp.execute("object-add",
              {{"qom-type", "memory-backend-ram"}, {"id", "m1"}, {"size", 4 * kSize}});
  qmp.add({{"driver", "virtio-mem-pci"},
           {"id", "vm0"},
           {"memdev", "m1"},
           {"bus", "vmrig-port0"},
           {"requested-size", 2 * kSize}});
  console.await("test $(" + memory + ") -ge " + std::to_string(before + 200));
  qmp.execute("qom-set",
              {{"path", "/machine/peripheral/vm0"}, {"property", "requested-size"}, {"value", 0}});
  console.await("test $(" + memory + ") -le " + std::to_string(before));
}

}  // namespace
