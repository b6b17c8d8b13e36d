// The words that devices become on QEMU's command line.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "devices/disk.hpp"
#include "devices/nic_description.hpp"
#include "devices/serial.hpp"
#include "launcher/command_line.hpp"
#include "launcher/plan.hpp"
#include "tests/support/plan_inputs.hpp"

using namespace vmrig;

namespace {

std::vector<std::string> words_of(const std::vector<QemuArgument>& arguments) {
  std::vector<std::string> words;
  for (const QemuArgument& argument : arguments) {
    words.insert(words.end(), argument.words.begin(), argument.words.end());
  }
  return words;
}

qmp::QemuCaps old_caps() {
  qmp::QemuCaps caps = testing::recorded_caps("7.2");
  caps.json_cli_device = caps.json_cli_netdev = caps.json_cli_object = false;
  return caps;
}

FdNaming no_fds() {
  return [](const FdSource&) { return std::string("none"); };
}

// Of a QEMU that may open its files itself.
FdNaming paths() {
  return [](const FdSource& source) { return source.name; };
}

}  // namespace

TEST_CASE("commas are doubled, nothing else is touched") {
  CHECK(escape_commas("a,b=c,,\n\"$(x)'") == "a,,b=c,,,,\n\"$(x)'");
}

TEST_CASE("nested JSON becomes dotted keys, booleans on and off") {
  CHECK(keyval({{"a", true}, {"b", {{"c", "x,y"}, {"d", {1, 2}}}}}) ==
        "a=on,b.c=x,,y,b.d.0=1,b.d.1=2");
}

TEST_CASE("a QEMU without JSON devices gets the same device as options") {
  NicConfig nic;
  nic.id = "net0";
  nic.forward = {"tcp::2222-:22", "udp::53-:53"};
  const DeviceDescription description =
      describe_nic(nic, {.origin = "nics[0]", .vm_name = "vm"}, {}, {}, no_fds());
  const auto words = words_of(render_device(description, old_caps()));
  REQUIRE(words.size() == 4);
  CHECK(words[1] == "user,hostfwd=tcp::2222-:22,hostfwd=udp::53-:53,id=net0");
  CHECK(words[3] ==
        "virtio-net-pci,id=net0,mac=" + stable_mac("vm", "net0") + ",netdev=net0,romfile=");
}

TEST_CASE("a QEMU without JSON objects gets a throttle group's limits one by one") {
  DiskConfig disk;
  disk.id = "d";
  disk.path = "/d.img";
  disk.throttle = DiskThrottle{.iops = 5, .bps_read = Bytes::mib(1)};
  disk.throttle->iops_max = 9;
  const auto words =
      words_of(render_device(describe_disk(disk, "disks[0]", -1, {}, paths()), old_caps()));
  REQUIRE(words.size() >= 2);
  CHECK(words[0] == "-object");
  CHECK(words[1] ==
        "throttle-group,id=d-limit,x-bps-read=1048576,x-iops-total=5,x-iops-total-max=9");
}

TEST_CASE("a file chardev keeps every byte of its path") {
  SerialConfig serial{.id = "log", .type = SerialType::kFile, .path = "/a,b=c \"\n"};
  const auto words = words_of(render_device(describe_serial(serial, "serial[0]", 0, paths()),
                                            testing::recorded_caps("7.2")));
  CHECK(words.at(1) == "file,id=log,append=on,path=/a,,b=c \"\n");
}

TEST_CASE("a disk's path is a JSON string, whatever is in it") {
  DiskConfig disk;
  disk.id = "d";
  disk.path = "/x\",\"driver\":\"nbd\n,readonly=on";
  const auto words = words_of(render_device(describe_disk(disk, "disks[0]", 0, {}, paths()),
                                            testing::recorded_caps("7.2")));
  const Json file = Json::parse(words.at(1));
  CHECK(file.at("filename") == disk.path);
  CHECK(file.at("driver") == "file");
}

TEST_CASE("MAC addresses are stable, local, unicast and differ by VM and by NIC") {
  // The value itself is a promise: a guest's configuration hangs on it.
  CHECK(stable_mac("vm", "net0") == stable_mac("vm", "net0"));
  CHECK(stable_mac("vm", "net0").substr(0, 9) == "52:54:00:");
  CHECK(stable_mac("vm", "net0") != stable_mac("vm", "net1"));
  CHECK(stable_mac("vm", "net0") != stable_mac("vn", "net0"));
  CHECK(stable_mac("ab", "c") != stable_mac("a", "bc"));
}

TEST_CASE("a disk's cache mode sets host cache, flushes and the guest's write cache") {
  DiskConfig disk;
  disk.id = "d";
  disk.path = "/p.qcow2";
  auto of = [&disk](DiskCache cache) {
    disk.cache = cache;
    return describe_disk(disk, "o", -1, {}, paths());
  };
  CHECK(of(DiskCache::kNone).backends.at(0).props.at("cache").at("direct") == true);
  CHECK(of(DiskCache::kUnsafe).backends.at(1).props.at("cache").at("no-flush") == true);
  CHECK(of(DiskCache::kWritethrough).front_ends.at(0).props.at("write-cache") == "off");
  // QEMU's own defaults: a write cache that the guest sees, over the host's.
  CHECK_FALSE(of(DiskCache::kWriteback).front_ends.at(0).props.contains("write-cache"));
  CHECK_FALSE(of(DiskCache::kWriteback).backends.at(0).props.contains("cache"));
  CHECK(of(DiskCache::kWriteback).backends.at(1).props.at("driver") == "qcow2");
  CHECK(describe_disk(disk, "o", -1, {.is_block_device = true, .data = {}, .backing = {}}, paths())
            .backends.at(0)
            .props.at("driver") == "host_device");
}

TEST_CASE("each image that a disk stands on has nodes of its own, read-only, the lowest first") {
  DiskConfig disk;
  disk.id = "abcdefghijklmnopqrstuvwx";  // the longest id
  disk.path = "/top.qcow2";
  disk.cache = DiskCache::kNone;
  disk.aio = DiskAio::kNative;
  const DiskFiles files{.is_block_device = false,
                        .data = ImageFile{"/top.data", false},
                        .backing = {{.file = {"/mid.qcow2", false}, .format = "qcow2", .data = {}},
                                    {.file = {"/dev/base", true}, .format = "raw", .data = {}}}};
  std::vector<FdSource> asked;
  const FdNaming fds = [&asked](const FdSource& source) {
    asked.push_back(source);
    return fmt::format("/dev/fdset/{}", asked.size());
  };
  const DeviceDescription description = describe_disk(disk, "disks[0]", -1, files, fds);
  std::vector<std::string> nodes;
  for (const Backend& backend : description.backends) {
    nodes.push_back(backend.props.at("node-name").get<std::string>().substr(disk.id.size()));
    CHECK(backend.props.at("node-name").get<std::string>().size() <= 31);  // QEMU's limit
    CHECK(backend.props.at("cache").at("direct") == true);
  }
  CHECK(nodes ==
        std::vector<std::string>{"-b2f", "-b2", "-b1f", "-b1", "-data", "-file", "-format"});
  const auto props = [&description](std::size_t i) { return description.backends.at(i).props; };
  CHECK(props(0).at("driver") == "host_device");
  CHECK(props(1) == Json{{"driver", "raw"},
                         {"node-name", disk.id + "-b2"},
                         {"file", disk.id + "-b2f"},
                         {"cache", {{"direct", true}}},
                         {"read-only", true}});
  CHECK(props(3).at("backing") == disk.id + "-b2");
  CHECK(props(3).at("read-only") == true);
  CHECK(props(6).at("backing") == disk.id + "-b1");
  CHECK(props(6).at("data-file") == disk.id + "-data");
  CHECK_FALSE(props(6).contains("read-only"));
  // QEMU takes only fds that are open as it asks for.
  REQUIRE(asked.size() == 4);
  for (const FdSource& source : asked) {
    CHECK(source.is_direct);
    CHECK(source.is_writable == source.name.starts_with("/top"));
  }
}
