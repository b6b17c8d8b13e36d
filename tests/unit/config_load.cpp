// Reading a config: what a user may get wrong, and what they are told.
#include <doctest/doctest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

#include "hostcfg/base/error.hpp"
#include "launcher/config/load_config.hpp"

using namespace vmrig;

namespace {

ConfigSource source(std::string text) {
  return {.text = std::move(text),
          .file = "vm.json",
          .folder = "/vms",
          .environment = {{"DISK", "/images/a.qcow2"}, {"TRICK", R"(x", "profile": "nfv)"}},
          .settings = {}};
}

// "line path: message | mend", one a line, of all faults.
std::string faults(const ConfigSource& from) {
  try {
    load_config(from);
  } catch (const DiagnosticsError& error) {
    std::string text;
    for (const Diagnostic& fault : error.diagnostics()) {
      text += std::to_string(fault.line) + " " + fault.path + ": " + fault.message +
              (fault.mend.empty() ? "" : " | " + fault.mend) + "\n";
    }
    return text;
  }
  return {};
}

std::string faults(std::string text) { return faults(source(std::move(text))); }

// The faults of a config that is good but for `members`.
std::string faults_with(const std::string& members) {
  return faults(R"({"name": "a", "memory": {"size": "1GiB"}, )" + members + "}");
}

bool has(const std::string& text, const std::string& part) {
  const bool found = text.find(part) != std::string::npos;
  if (!found) MESSAGE("missing: " << part << "\nin: " << text);
  return found;
}

}  // namespace

TEST_CASE("a config of two keys is enough, and gets the plain defaults") {
  const VmConfig config = load_config(source(R"({"name": "a", "memory": {"size": "512MiB"}})"));
  CHECK(config.name == "a");
  CHECK(config.memory.size == Bytes::mib(512));
  CHECK(config.cpu.vcpus == 1);
  CHECK(config.cpu.pin.mode == Pinning::Mode::kNone);
  CHECK(config.memory.merge);
  CHECK(config.rng);
  REQUIRE(config.serial.size() == 1);
  CHECK(config.serial[0].id == "con0");
}

TEST_CASE("the nfv profile changes defaults, and any key overrides it") {
  const VmConfig config = load_config(
      source(R"({"memory": {"size": "8GiB", "lock": false}, "profile": "nfv", "name": "a"})"));
  CHECK(config.cpu.pin.mode == Pinning::Mode::kAuto);
  CHECK(config.cpu.emulator.mode == Pinning::Mode::kAuto);
  CHECK(config.cpu.smt == SmtPolicy::kEmulator);
  CHECK(config.cpu.exclusive);
  CHECK(config.memory.prealloc);
  CHECK_FALSE(config.memory.merge);
  CHECK_FALSE(config.memory.lock);
}

TEST_CASE("comments are allowed, and relative paths are relative to the config's folder") {
  const VmConfig config = load_config(source(R"(// a VM
    {"name": "a", /* much */ "memory": {"size": "1GiB"},
     "disks": [{"id": "d", "path": "a.qcow2"}, {"id": "e", "path": "/b"}]})"));
  CHECK(config.disks.at(0).path == "/vms/a.qcow2");
  CHECK(config.disks.at(1).path == "/b");
}

TEST_CASE("all faults are reported at once, each with its line and path") {
  const std::string text = faults(R"({
  "name": "a/b",
  "memory": {"size": 512, "hugepage": "1GiB"},
  "cpu": {"vcpus": 0,
    "model": 7},
  "disks": [{"id": "d"}, {"id": "d", "path": 3}],
  "profil": "nfv"
})");
  CHECK(has(text, "2 name: \"a/b\" is no name for a VM"));
  CHECK(
      has(text, "3 memory.size: 512 is ambiguous; write a string with a unit, such as \"512MiB\""));
  CHECK(has(text,
            "3 memory.hugepage: \"hugepage\": unknown key in memory, did you mean \"hugepages\"?"));
  CHECK(has(text, "4 cpu.vcpus: 0 is out of range; 1 to 4096 is possible"));
  CHECK(has(text, "5 cpu.model: 7 is a number, a string is needed"));
  CHECK(has(text, "6 disks[0].path: is missing, and has no default"));
  CHECK(has(text, "6 disks[1].path: 3 is a number, a string is needed"));
  CHECK(has(text, "6 disks[1].id: \"d\" is the id of disks[0].id already"));
  CHECK(has(text, "7 profil: \"profil\": unknown key, did you mean \"profile\"?"));
}

TEST_CASE("a key that stands twice is a fault, wherever it stands") {
  CHECK(has(faults(R"({"name": "a", "memory": {"size": "1GiB",
    "size": "2GiB"}})"),
            "2 memory.size: \"size\" stands twice in one object"));
  CHECK(has(faults(R"({"name": "a", "name": {"x": [1]}, "memory": {"size": "1GiB"}})"),
            "1 name: \"name\" stands twice"));
}

TEST_CASE("numbers are never converted in silence") {
  CHECK(has(faults_with(R"("cpu": {"vcpus": -1})"), "-1 is out of range"));
  CHECK(has(faults_with(R"("cpu": {"vcpus": 4294967297})"), "4294967297 is out of range"));
  CHECK(has(faults_with(R"("cpu": {"vcpus": 18446744073709551615})"), "is out of range"));
  CHECK(has(faults_with(R"("cpu": {"vcpus": 3.9})"), "3.9 is a number with a fraction"));
  CHECK(has(faults_with(R"("cpu": {"vcpus": "4"})"), "\"4\" is a string, a whole number"));
  CHECK(has(faults_with(R"("cpu": {"vcpus": 1e400})"), "not valid JSON"));
  CHECK(has(faults_with(R"("rng": 1)"), "1 is a number, true or false is needed"));
}

TEST_CASE("sizes want an IEC unit") {
  auto size = [](const std::string& value) {
    return faults(R"({"name": "a", "memory": {"size": )" + value + "}}");
  };
  CHECK(has(size("\"8\""), "\"8\" is ambiguous; add a unit"));
  CHECK(has(size("\"8GB\""), "has the unknown unit \"GB\""));
  CHECK(has(size("\"GiB\""), "is not a size"));
  CHECK(has(size("\"-1GiB\""), "is not a size"));
  CHECK(has(size("\"0GiB\""), "is out of range"));
  CHECK(has(size("\"99999999999999999999GiB\""), "is too large"));
  CHECK(has(size("\"17179869184GiB\""), "is too large"));
  CHECK(has(size("\"1025KiB\""), "is no multiple of 1MiB"));
}

TEST_CASE("settings that conflict are named with the mend") {
  CHECK(has(faults_with(R"("cpu": {"vcpus": 4, "max_vcpus": 2})"),
            "cpu.max_vcpus: is 2, less than the 4 vCPUs | \"max_vcpus\": 4"));
  CHECK(has(faults_with(R"("cpu": {"vcpus": 4, "topology": {"cores": 3}})"),
            "1 sockets of 3 cores of 1 threads are 3 CPUs, the VM has 4"));
  CHECK(has(faults_with(R"("cpu": {"vcpus": 4, "pin": ["1"]})"), "has 1 cpulists"));
  CHECK(has(faults_with(R"("cpu": {"pin": "some"})"), "is neither \"auto\" nor \"none\""));
  CHECK(has(faults_with(R"("cpu": {"pin": ["1-"]})"), "cpu.pin[0]: \"1-\" is no cpulist"));
  CHECK(
      has(faults_with(R"("boot": {"initrd": "i"})"), "boot.initrd: is of no use without a kernel"));
  CHECK(has(faults_with(R"("boot": {"order": ["x"]})"),
            "boot.order[0]: no disk, NIC or VFIO device has the id \"x\""));
  CHECK(has(faults_with(R"("disks": [{"id": "d", "path": "p", "aio": "native"}])"),
            "disks[0].aio: \"native\" needs a cache of \"none\""));
  CHECK(has(faults_with(R"("disks": [{"id": "d", "path": "p", "iothread": "io9"}])"),
            "no iothread has the id \"io9\" | \"iothreads\": [{\"id\": \"io9\"}]"));
  CHECK(
      has(faults_with(R"("serial": [{"id": "s", "type": "file"}])"), "serial[0].path: is missing"));
  CHECK(has(faults_with(R"("nics": [{"id": "n", "mac": "53:00:00:00:00:01"}])"),
            "is a multicast address"));
  CHECK(has(faults_with(R"("nics": [{"id": "n", "forward": ["tcp::22"]}])"), "is no forward"));
  CHECK(has(
      faults_with(
          R"("nics": [{"id": "n", "mac": "52:54:00:00:00:AA"}, {"id": "m", "mac": "52:54:00:00:00:aa"}])"),
      "nics[1].mac: 52:54:00:00:00:aa is the address of nics[0] already"));
  CHECK(has(faults(R"({"name": "a", "memory": {"size": "3MiB", "hugepages": "2MiB"}})"),
            "3MiB is no multiple of the hugepage size 2MiB | \"size\": \"4MiB\""));
  CHECK(has(faults(R"({"name": "a", "memory": {"size": "3GiB", "max": "2GiB"}})"),
            "less than the size"));
  CHECK(has(faults(R"({"name": "a", "memory": {"size": "1GiB", "node": "0-1"}})"),
            "memory.node: 0-1 are several nodes, which only one policy takes | "
            "\"policy\": \"interleave\""));
  CHECK(has(faults(R"({"name": "a", "memory": {"size": "1GiB", "node": "x"}})"), "memory.node"));
  CHECK(has(faults(R"({"name": "a", "memory": {"size": "1GiB", "node": "0,2000"}})"),
            "there is no NUMA node 2000"));
  CHECK(has(faults(R"({"name": "a", "memory": {"size": "1GiB", "policy": "preferred"}})"),
            "memory.policy: \"preferred\" is of no use without a node"));
  CHECK(
      has(faults(R"({"name": "a", "memory": {"size": "1GiB", "lock": "later"}})"), "memory.lock"));
  CHECK(has(
      faults(R"({"name": "a", "memory": {"size": "1GiB", "hugepages": "none", "reserve": true}})"),
      "memory.reserve: is of no use without hugepages"));
}

TEST_CASE("guest NUMA nodes hold every vCPU once and all of the memory") {
  const auto numa = [](const std::string& cells, const std::string& more = {}) {
    return faults(
        R"({"name": "a", "memory": {"size": "2GiB"}, "cpu": {"vcpus": 2, "max_vcpus": 4}, )" +
        more + R"("numa": )" + cells + "}");
  };
  CHECK(
      numa(R"([{"vcpus": "0-1", "memory": "1GiB"}, {"vcpus": "2-3", "memory": "1GiB"}])").empty());
  CHECK(has(numa(R"([{"vcpus": "0-1", "memory": "1GiB"}, {"vcpus": "1", "memory": "512MiB"}])"),
            "numa[1].vcpus: vCPU 1 has a guest node already"));
  const std::string sums = numa(R"([{"vcpus": "0-1,7", "memory": "512MiB"}])");
  CHECK(has(sums, "numa: vCPU 2-3 has no guest node"));
  CHECK(has(sums, "numa: there is no vCPU 7: the VM has 4"));
  CHECK(has(sums,
            "numa: its nodes have 512MiB in all, memory.size is 2GiB | \"memory\": {\"size\": "
            "\"512MiB\"}"));
  const std::string far = numa(
      R"([{"vcpus": "0-1", "memory": "1GiB", "distances": [11, 10]},
          {"vcpus": "2", "memory": "512MiB", "distances": [20]},
          {"vcpus": "3", "memory": "512MiB"}])");
  CHECK(has(far, "numa[0].distances: has 2, one a guest node is needed: 3"));
  CHECK(has(far, "numa[1].distances: has 1, one a guest node is needed: 3"));
  CHECK(has(far, "numa[2].distances: is missing where other nodes have them"));
  CHECK(has(numa(R"([{"vcpus": "0-3", "memory": "2GiB", "distances": [20]}])"),
            "numa[0].distances: a node's distance to itself is 10, not 20"));
  CHECK(has(numa(R"([{"vcpus": "0-1", "memory": "1GiB", "distances": [10, 10]},
                     {"vcpus": "2-3", "memory": "1GiB", "distances": [20, 10]}])"),
            "numa[0].distances: another node is farther than 10: 10 to guest node 1"));
  CHECK(has(numa(R"([{"vcpus": "a", "memory": "2GiB"}])"), "numa[0].vcpus"));
  CHECK(has(numa(R"([{"vcpus": "0-3", "memory": "2GiB", "pxb": true}])",
                 R"("machine": {"type": "pc"}, )"),
            "numa[0].pxb: needs a q35 machine"));
  CHECK(has(faults(R"({"name": "a", "memory": {"size": "1GiB", "node": 1},
                       "numa": [{"vcpus": "0", "memory": "1GiB"}]})"),
            "memory.node: is of no use beside \"numa\""));
  CHECK(has(faults(R"({"name": "a", "memory": {"size": "3MiB", "hugepages": "none"},
                       "numa": [{"vcpus": "0", "memory": "3MiB", "node": 5000}]})"),
            "numa[0].node"));
}

TEST_CASE("a key of the contract that is not built is refused by name, its neutral value is not") {
  CHECK(has(faults_with(R"("tpm": {"version": 2})"),
            "tpm: is not built yet in this version of vmrig | remove the key, or set it to null"));
  CHECK(has(faults_with(R"("shares": [{"id": "s"}])"), "shares: is not built yet"));
  CHECK(faults_with(R"("tpm": null, "vfio": [], "usb": [], "video": "none")").empty());
}

TEST_CASE("text that is no JSON is one clear fault with its line") {
  CHECK(has(faults(""), "not valid JSON"));
  CHECK(has(faults("{\n\"name\": }"), "2 : not valid JSON near \"\\\"name\\\": }\""));
  CHECK(has(faults("{} x"), "not valid JSON"));
  CHECK(has(faults("null"), "holds no config"));
  CHECK(has(faults("[1]"), "is a list, an object is needed"));
  CHECK(has(faults(std::string("\x7f"
                               "ELF\0\x01\x02",
                               7)),
            "not valid JSON"));
  CHECK(has(faults(std::string("{\"name\": \"\xff\xfe\"}")), "not valid JSON"));
}

TEST_CASE("deep and huge texts are refused without a crash") {
  CHECK(has(faults(std::string(1 << 20, '[')), "nested deeper than 64 levels"));
  CHECK(has(faults(std::string(5 << 20, ' ')), "larger than 4MiB"));
  std::string deep;
  for (int i = 0; i < 100000; ++i) deep += R"({"a":)";
  CHECK(has(faults(deep), "nested deeper than 64 levels"));
}

TEST_CASE("names are folders' names, and nothing else") {
  auto name = [](const std::string& json) {
    return faults(R"({"memory": {"size": "1GiB"}, "name": )" + json + "}");
  };
  CHECK(has(name(R"("")"), "is empty"));
  CHECK(has(name(R"("..")"), "is no name for a VM"));
  CHECK(has(name(R"("a\nb")"), "\"a\\nb\" is no name for a VM"));
  CHECK(has(name(R"("a\u0000b")"), "holds a NUL byte"));
  CHECK(has(name("\"" + std::string(300, 'x') + "\""), "is 300 bytes long, 64 is the most"));
  CHECK(has(name(R"("-x")"), "is no name for a VM"));
  CHECK(name(R"("csr1000v-1_a.b")").empty());
}

TEST_CASE("environment values go into strings and can't add structure") {
  ConfigSource from = source(R"({"name": "a", "memory": {"size": "1GiB"},
    "disks": [{"id": "d", "path": "${DISK}"}, {"id": "e", "path": "/x$${y}$z${TRICK}"}]})");
  const VmConfig config = load_config(from);
  CHECK(config.disks.at(0).path == "/images/a.qcow2");
  CHECK(config.disks.at(1).path == R"(/x${y}$zx", "profile": "nfv)");
  CHECK(config.profile == Profile::kPlain);
  CHECK(has(faults(R"({"name": "${NOPE}",
    "memory": {"size": "1GiB"}})"),
            "1 name: the environment variable \"NOPE\" is not set | export NOPE=…"));
  CHECK(has(faults_with(R"("qemu": "${DISK")"), "qemu: \"${\" has no \"}\""));
}

TEST_CASE("--set lays values over the file, by index and by id, and is named in faults") {
  ConfigSource from =
      source(R"({"name": "a", "memory": {"size": "1GiB"}, "disks": [{"id": "d", "path": "p"}]})");
  from.settings = {"memory.size=2GiB",    "cpu.vcpus=3",     "disks.d.readonly=true",
                   "disks[0].serial=abc", "nics[0].id=net0", "name=b"};
  const VmConfig config = load_config(from);
  CHECK(config.name == "b");
  CHECK(config.memory.size == Bytes::gib(2));
  CHECK(config.cpu.vcpus == 3);
  CHECK(config.disks.at(0).readonly);
  CHECK(config.disks.at(0).serial == "abc");
  CHECK(config.nics.at(0).id == "net0");
  from.settings = {"memory.size=2", "disks.nope.path=x", "nonsense"};
  const std::string text = faults(from);
  CHECK(has(text, "memory.size: 2 is ambiguous"));
  CHECK(has(text, "there is no \"disks.nope.path\""));
  CHECK(has(text, "--set \"nonsense\" is not PATH=VALUE"));
}

TEST_CASE("a config written out and read again is the same") {
  ConfigSource from =
      source(R"({"name": "a", "profile": "nfv", "memory": {"size": "8GiB", "node": 1},
    "cpu": {"vcpus": 2, "pin": ["1", "2-3"], "emulator": "4"}, "disks": [{"id": "d", "path": "/p"}],
    "nics": [{"id": "n"}], "serial": [], "iothreads": [{"id": "io0", "pin": "auto"}]})");
  const Json written = to_json(load_config(from));
  CHECK(to_json(config_from_json(written)) == written);
  CHECK(written.at("cpu").at("pin") == Json::array({"1", "2-3"}));
  CHECK(written.at("memory").at("node") == 1);
}

TEST_CASE("what is no UTF-8 is refused by its path, wherever it came from") {
  ConfigSource from = source(R"({"name": "a", "memory": {"size": "1GiB"},
    "disks": [{"id": "d", "path": "${BYTES}"}]})");
  from.environment["BYTES"] = "/images/\xff.img";
  CHECK(has(faults(from), "2 disks[0].path: \"/images/\\xff.img\" is no UTF-8"));
  from.settings = {"disks.d.path=/\xc3("};
  CHECK(has(faults(from), "disks[0].path: \"/\\xc3(\" is no UTF-8"));
  // Relative paths get the folder's name; absolute ones don't.
  from.settings = {"disks.d.path=d.img"};
  from.folder = "/vms\xff";
  CHECK(has(faults(from), "its paths are relative to \"/vms\\xff\", which is no UTF-8"));
  from.settings = {"disks.d.path=/d.img"};
  CHECK(faults(from).empty());
}

TEST_CASE("a network device's name is no option of a program, and can be printed") {
  const auto name = [](const std::string& json) {
    return faults_with(R"("nics": [{"id": "n", "type": "tap", "bridge": "b", "ifname": )" + json +
                       "}]");
  };
  for (const char* bad : {R"("-x")", R"("--")", R"("a\u0001")", R"("\u001b[2J")", R"("a\u007f")",
                          R"("a b")", R"("a%b")", R"("..")"}) {
    CAPTURE(bad);
    CHECK(has(name(bad), "nics[0].ifname: "));
  }
  for (const char* good : {R"("a-x")", R"("tap0,b=c")", R"("Größe")"}) {
    CAPTURE(good);
    CHECK(name(good).empty());
  }
  CHECK(has(faults_with(R"("nics": [{"id": "n", "type": "tap", "ovs": {"bridge": "--"}}])"),
            "nics[0].ovs.bridge: \"--\" is no name of a network device"));
}
