// Devices come and go in a running guest, by vmrig's own commands, checked inside the guest.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <csignal>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

#include "hostcfg/thread_affinity.hpp"
#include "tests/support/guest_console.hpp"
#include "tests/support/skip.hpp"

namespace {

using namespace vmrig;
using namespace vmrig::testing;

constexpr const char* kName = "plug";

// QEMU 7.2 under TCG may abort at power off after a vCPU has gone; a newer one where it is there.
void use_newer_qemu(Json& config) {
  if (const char* newer = std::getenv("VMRIG_QEMU10")) config["qemu"] = newer;  // NOLINT
}

struct Vm {
  explicit Vm(VmGuard& vm_guard, const std::string& machine = "q35", const std::string& qemu = {})
      : guard(vm_guard), console(start(vm_guard, machine, qemu)) {}

  static std::string start(VmGuard& guard, const std::string& machine, const std::string& qemu) {
    Json config = guest_config(guard, kName);
    config["machine"]["type"] = machine;
    config["cpu"] = {{"vcpus", 1}, {"max_vcpus", 3}};
    const std::string cpu = std::to_string(thread_affinity(0).cpus().back());
    config["cpu"]["pin"] = {cpu, cpu, cpu};
    config["cpu"]["exclusive"] = false;
    config["nics"] = Json::array();
    config["memory"]["max"] = "2GiB";
    use_newer_qemu(config);
    if (!qemu.empty()) config["qemu"] = qemu;
    const CommandResult result =
        guard.vmrig({"start", guard.write_config(config), "--wait", kGuestGreeting});
    if (result.status != 0) throw std::runtime_error(result.err);
    return guard.state_dir() + "/" + kName + "/console.sock";
  }

  CommandResult attach(const std::string& kind, const Json& device) const {
    return guard.vmrig({"attach", kName, kind, device.dump()});
  }
  CommandResult detach(const std::string& id, const std::string& timeout = "30") const {
    return guard.vmrig({"detach", kName, id, "--timeout", timeout});
  }
  Json status() const { return guard.vmrig_json({"status", kName, "--json"}); }
  Json qmp(const std::string& command, const Json& arguments = Json::object()) const {
    return guard.vmrig_json({"qmp", kName, command, arguments.dump()});
  }
  std::string make_disk(const std::string& name) const {
    write_text(guard.folder() / name, std::string(1 << 20, 'x'));
    return guard.folder() / name;
  }

  VmGuard& guard;
  GuestConsole console;
};

#define CHECK_DONE(result)                     \
  do {                                         \
    const CommandResult done = (result);       \
    CHECK_MESSAGE(done.status == 0, done.err); \
  } while (false)

constexpr int kCycles = 20;

bool holds_disk(const Json& status, const std::string& path) {
  for (const Json& disk : status.at("claim").at("written_disks")) {
    if (disk == Json(path)) return true;
  }
  return false;
}

void cycle(const std::string& machine, int cycles, const std::string& qemu = {}) {
  VmGuard guard;
  Vm vm(guard, machine, qemu);
  // With QEMU 5.2 every plug presses the slot's attention button. A guest that still powers its
  // empty slots off takes that for a wish to power this one off, and can't be asked again.
  if (!qemu.empty()) vm.console.await("test $(cut -d. -f1 /proc/uptime) -ge 8");
  const std::string path = vm.make_disk("d.img");
  const Json disk = {{"id", "d1"}, {"path", path}, {"serial", "serial1"}};
  const Json nic = {{"id", "n1"}, {"type", "user"}, {"mac", "52:54:00:00:00:07"}};
  for (int i = 0; i < cycles; ++i) {
    CAPTURE(i);
    CHECK_DONE(vm.attach("disk", disk));
    vm.console.await("grep -qx serial1 /sys/block/vd*/serial");
    CHECK_DONE(vm.detach("d1"));
    vm.console.await("! grep -qx serial1 /sys/block/vd*/serial");
    CHECK_DONE(vm.attach("nic", nic));
    vm.console.await("grep -q 52:54:00:00:00:07 /sys/class/net/*/address");
    CHECK_DONE(vm.detach("n1"));
    vm.console.await("! grep -q 52:54:00:00:00:07 /sys/class/net/*/address");
  }
  const Json status = vm.status();
  CHECK_FALSE(holds_disk(status, path));
  CHECK(status.at("config").at("disks") == Json::array());
  CHECK(vm.qmp("query-named-block-nodes") == Json::array());
}

TEST_CASE("disks and NICs come and go in a guest twenty times on q35") {
  NEED_GUEST();
  cycle("q35", kCycles);
}

TEST_CASE("disks and NICs come and go in a guest twenty times on pc") {
  NEED_GUEST();
  cycle("pc", kCycles);
}

TEST_CASE("disks and NICs come and go with every QEMU that is here") {
  NEED_GUEST();
  cycle("q35", 3, system_qemu());
  for (const char* variable : {"VMRIG_QEMU52", "VMRIG_QEMU111"}) {  // of --full
    const char* qemu = std::getenv(variable);                       // NOLINT
    if (qemu == nullptr) continue;
    CAPTURE(variable);
    cycle("q35", 3, qemu);
    cycle("pc", 3, qemu);
  }
}

TEST_CASE("a machine without an operating system keeps its device, and its commands are answered") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  VmGuard guard;
  REQUIRE(guard.vmrig({"start", guard.write_config(guard.config("bare"))}).status == 0);
  write_text(guard.folder() / "d.img", std::string(1 << 20, 'x'));
  const Json disk = {{"id", "d1"}, {"path", guard.folder() / "d.img"}};
  CHECK_DONE(guard.vmrig({"attach", "bare", "disk", disk.dump()}));
  RunningCommand waiting(guard.request({"detach", "bare", "d1", "--timeout", "1"}));
  const Json status = guard.vmrig_json({"qmp", "bare", "query-status"});
  CHECK(status.at("status") == Json("running"));
  CHECK_DONE(guard.vmrig({"attach", "bare", "rng", R"({"id": "r1"})"}));
  CHECK(waiting.wait().status == 124);
  // Asking again waits again, and harms nothing.
  CHECK(guard.vmrig({"detach", "bare", "d1", "--timeout", "0.2"}).status == 124);
  const Json after = guard.vmrig_json({"status", "bare", "--json"});
  CHECK(after.at("pending_unplugs") == Json::array({"d1"}));
  CHECK(after.at("state") == Json("running"));
  CHECK_DONE(guard.vmrig({"stop", "bare", "--force"}));
  CHECK(guard.nothing_left());
}

TEST_CASE("vCPUs come to the CPUs that were planned for them, and go") {
  NEED_GUEST();
  VmGuard guard;
  Vm vm(guard);
  const std::string cpu = std::to_string(thread_affinity(0).cpus().back());
  CHECK_DONE(guard.vmrig({"set", kName, "vcpus=3"}));
  vm.console.await("test $(nproc) = 3");
  int vcpus = 0;
  const Json status = vm.status();
  for (const Json& thread : status.at("threads")) {
    if (thread.at("role") != Json("vcpu")) continue;
    ++vcpus;
    CHECK(thread.at("cpus") == Json(cpu));
  }
  CHECK(vcpus == 3);
  CHECK_DONE(guard.vmrig({"set", kName, "vcpus=2"}));
  vm.console.await("test $(nproc) = 2");
  const CommandResult more = guard.vmrig({"set", kName, "vcpus=4"});
  CHECK(more.status == 2);
  CHECK(more.err.find("max_vcpus") != std::string::npos);
  CHECK_DONE(guard.vmrig({"set", kName, "vcpus=1"}));
  vm.console.await("test $(nproc) = 1");
  const CommandResult none = guard.vmrig({"set", kName, "vcpus=0"});
  CHECK(none.status == 2);
}

TEST_CASE("a paused guest keeps its device until it goes on, and vmrig finishes the removal") {
  NEED_GUEST();
  VmGuard guard;
  Vm vm(guard);
  const std::string path = vm.make_disk("d.img");
  const Json disk = {{"id", "d1"}, {"path", path}, {"serial", "serial1"}};
  CHECK_DONE(vm.attach("disk", disk));
  vm.console.await("grep -qx serial1 /sys/block/vd*/serial");
  CHECK_DONE(guard.vmrig({"pause", kName}));
  RunningCommand waiting(guard.request({"detach", kName, "d1", "--timeout", "2"}));
  // Others are answered meanwhile.
  CHECK(vm.qmp("query-status").at("status") == Json("paused"));
  const CommandResult& late = waiting.wait();
  CHECK(late.status == 124);
  CHECK(late.err.find("d1") != std::string::npos);
  CHECK(vm.status().at("pending_unplugs") == Json::array({"d1"}));
  CHECK(holds_disk(vm.status(), path));
  // The same id can't be taken meanwhile.
  CHECK(vm.attach("disk", disk).status == 2);

  CHECK_DONE(guard.vmrig({"resume", kName}));
  vm.console.await("! grep -qx serial1 /sys/block/vd*/serial");
  CHECK(eventually([&] { return vm.status().at("pending_unplugs") == Json::array(); }));
  CHECK_FALSE(holds_disk(vm.status(), path));
  CHECK_DONE(vm.attach("disk", disk));
  CHECK_DONE(vm.detach("d1"));
}

TEST_CASE("an attach that QEMU refuses midway leaves nothing, and tells the first fault") {
  NEED_GUEST();
  VmGuard guard;
  Vm vm(guard);
  // A header with all that vmrig reads, and clusters of one byte: the file opens, the image does
  // not.
  const std::string path = guard.folder() / "broken.qcow2";
  std::string header(112, '\0');
  header.replace(0, 8, std::string("QFI\xfb\0\0\0\3", 8));
  header[103] = 104;  // its length
  write_text(path, header);
  const CommandResult refused = vm.attach("disk", {{"id", "d1"}, {"path", path}});
  CHECK(refused.status == 4);
  CHECK(refused.err.find("QEMU: ") != std::string::npos);
  CHECK(vm.qmp("query-named-block-nodes") == Json::array());
  CHECK_FALSE(holds_disk(vm.status(), path));
  CHECK_DONE(vm.attach("disk", {{"id", "d1"}, {"path", vm.make_disk("good.img")}}));
  vm.console.await("test -b /dev/vda");
}

TEST_CASE("faults of a device are told all at once, with its keys, and change nothing") {
  NEED_GUEST();
  VmGuard guard;
  Vm vm(guard);
  const CommandResult bad =
      vm.attach("disk", {{"id", "d1"}, {"path", "/nowhere"}, {"cach", "none"}, {"queues", 0}});
  CHECK(bad.status == 2);
  CHECK(bad.err.find("disk.cach") != std::string::npos);
  CHECK(bad.err.find("did you mean \"cache\"") != std::string::npos);
  CHECK(bad.err.find("disk.queues") != std::string::npos);
  const CommandResult missing = vm.attach("disk", {{"id", "d1"}, {"path", "/nowhere"}});
  CHECK(missing.status == 2);
  CHECK(missing.err.find("disk.path: \"/nowhere\": No such file") != std::string::npos);
  const CommandResult kind = vm.attach("dsk", {{"id", "d1"}});
  CHECK(kind.status == 2);
  CHECK(kind.err.find("did you mean \"disk\"") != std::string::npos);
  const CommandResult unknown = vm.detach("nothing");
  CHECK(unknown.status == 2);
  CHECK(vm.status().at("config").at("disks") == Json::array());
}

TEST_CASE("a VM whose ports are all taken says how to get more") {
  NEED_GUEST();
  VmGuard guard;
  Vm vm(guard);
  CommandResult last = vm.attach("nic", {{"id", "n0"}, {"type", "user"}});
  int attached = 0;
  while (last.status == 0 && attached < 8) {
    ++attached;
    last = vm.attach("nic", {{"id", fmt::format("n{}", attached)}, {"type", "user"}});
  }
  CHECK(attached == 4);
  CHECK(last.status == 1);
  CHECK(last.err.find("hotplug_ports") != std::string::npos);
  CHECK(vm.status().at("config").at("nics").size() == 4);
}

TEST_CASE("the state follows what a client plugs by plain QMP") {
  NEED_GUEST();
  VmGuard guard;
  Vm vm(guard);
  vm.qmp("object-add", {{"qom-type", "rng-builtin"}, {"id", "source"}});
  vm.qmp("device_add",
         {{"driver", "virtio-rng-pci"}, {"id", "raw0"}, {"rng", "source"}, {"bus", "vmrig-port1"}});
  CHECK(eventually([&] { return vm.status().at("foreign_devices") == Json::array({"raw0"}); }));
  // What a client has put into a port is not plugged over.
  for (int i = 0; i < 3; ++i) {
    CHECK_DONE(vm.attach("nic", {{"id", fmt::format("n{}", i)}, {"type", "user"}}));
  }
  CHECK(vm.attach("nic", {{"id", "n3"}, {"type", "user"}}).status == 1);
  CHECK_DONE(vm.detach("raw0"));
  CHECK(vm.status().at("foreign_devices") == Json::array());
  // And a device of the config's that a client takes.
  vm.qmp("device_del", {{"id", "n0"}});
  CHECK(eventually([&] { return vm.status().at("config").at("nics").size() == 2; }));
}

void see_each_kind(const std::string& machine) {
  VmGuard guard;
  Vm vm(guard, machine);
  GuestConsole& console = vm.console;
  const std::string path = vm.make_disk("d.img");
  CHECK_DONE(vm.attach("disk", {{"id", "s1"}, {"path", path}, {"bus", "scsi"}}));
  console.await("test -b /dev/sda");
  CHECK_DONE(vm.detach("s1"));
  console.await("! test -b /dev/sda");
  CHECK_DONE(vm.attach("usb", {{"id", "t1"}, {"type", "tablet"}}));
  console.await("grep -q 'QEMU USB Tablet' /proc/bus/input/devices");
  CHECK_DONE(vm.detach("t1"));
  console.await("! grep -q 'QEMU USB Tablet' /proc/bus/input/devices");
  CHECK_DONE(vm.attach("usb", {{"id", "u1"}, {"type", "storage"}, {"path", path}}));
  console.await("test -b /dev/sda");
  CHECK_DONE(vm.detach("u1"));
  console.await("! test -b /dev/sda");
  CHECK_DONE(vm.attach("rng", {{"id", "r1"}}));
  console.await("grep -q virtio_rng.1 /sys/class/misc/hw_random/rng_available");
  CHECK_DONE(vm.detach("r1"));
  console.await("! grep -q virtio_rng.1 /sys/class/misc/hw_random/rng_available");

  const std::string memory = "awk '/^MemTotal/ {print int($2 / 1024)}' /proc/meminfo";
  const int before = std::stoi(console.run(memory));
  const auto await_more = [&](int mebibytes) {
    // Linux keeps some of it for its own account of the rest.
    console.await(fmt::format("m=$({}); test $m -gt {} -a $m -le {}", memory,
                              before + mebibytes * 3 / 4, before + mebibytes));
  };
  const auto await_all_gone = [&] {
    console.await(fmt::format("test $({}) -le {}", memory, before));
  };
  CHECK_DONE(vm.attach("memory", {{"id", "m1"}, {"size", "128MiB"}}));
  await_more(128);
  CHECK_DONE(vm.detach("m1"));
  await_all_gone();
  CHECK_DONE(guard.vmrig({"set", kName, "memory=384MiB"}));
  await_more(128);
  CHECK_DONE(guard.vmrig({"set", kName, "memory=256MiB"}));
  await_all_gone();
  CHECK_DONE(vm.attach(
      "memory", {{"id", "v1"}, {"size", "256MiB"}, {"kind", "virtio-mem"}, {"requested", "0MiB"}}));
  CHECK_DONE(guard.vmrig({"set", kName, "memory=512MiB"}));
  await_more(256);
  CHECK_DONE(guard.vmrig({"set", kName, "memory=256MiB"}));
  await_all_gone();
  CHECK_DONE(vm.detach("v1"));
  const Json status = vm.status();
  CHECK(status.at("config").at("memory").at("devices") == Json::array());
  CHECK(status.at("config").at("usb") == Json::array());
  CHECK(status.at("claim").at("written_disks") == Json::array());
}

TEST_CASE("each kind of device comes and goes in a guest on q35") {
  NEED_GUEST();
  see_each_kind("q35");
}

TEST_CASE("each kind of device comes and goes in a guest on pc") {
  NEED_GUEST();
  see_each_kind("pc");
}

TEST_CASE("the link of a NIC goes down and up") {
  NEED_GUEST();
  VmGuard guard;
  Vm vm(guard);
  CHECK_DONE(vm.attach("nic", {{"id", "n1"}, {"type", "user"}}));
  vm.console.await("grep -qx 1 /sys/class/net/eth*/carrier");
  CHECK_DONE(guard.vmrig({"set", kName, "link.n1=down"}));
  vm.console.await("grep -qx 0 /sys/class/net/eth*/carrier");
  CHECK_DONE(guard.vmrig({"set", kName, "link.n1=up"}));
  vm.console.await("grep -qx 1 /sys/class/net/eth*/carrier");
  CHECK(guard.vmrig({"set", kName, "link.n2=up"}).status == 2);
}

}  // namespace
