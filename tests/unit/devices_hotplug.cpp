// The families of devices that come and go, as QMP objects: controllers, SCSI disks, USB devices,
// memory, entropy.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <stdexcept>

#include "devices/balloon.hpp"
#include "devices/controllers.hpp"
#include "devices/disk.hpp"
#include "devices/memory_device.hpp"
#include "devices/rng.hpp"
#include "devices/usb.hpp"
#include "hostcfg/base/error.hpp"
#include "hostcfg/base/json_document.hpp"
#include "hostcfg/base/shape_reader.hpp"
#include "tests/support/plan_inputs.hpp"

using namespace vmrig;

namespace {

// As `attach` reads its argument; the faults one a line, "path: message".
template <class T>
T read_device(const std::string& text, std::string& faults) {
  std::vector<Diagnostic> diagnostics;
  JsonDocument document = JsonDocument::parse(text, "argument", diagnostics);
  T device;
  read_shape(
      document, [&](Shape& shape) { visit(shape, device); }, diagnostics);
  for (const Diagnostic& fault : diagnostics) faults += fault.path + ": " + fault.message + "\n";
  return device;
}

template <class T>
std::string faults_of(const std::string& text) {
  std::string faults;
  read_device<T>(text, faults);
  return faults;
}

template <class T>
T good(const std::string& text) {
  std::string faults;
  T device = read_device<T>(text, faults);
  CHECK(faults == "");
  return device;
}

bool has(const std::string& text, const std::string& part) {
  const bool found = text.find(part) != std::string::npos;
  if (!found) MESSAGE("missing: " << part << "\nin: " << text);
  return found;
}

// Of a QEMU that may open its files itself.
FdNaming paths() {
  return [](const FdSource& source) { return source.name; };
}

const MemoryBackend kPlainBackend{.id = "replaced",
                                  .kind = MemoryBackend::Kind::kAnonymous,
                                  .size = {},
                                  .page_size = {},
                                  .mem_path = {},
                                  .prealloc = true,
                                  .prealloc_threads = 2,
                                  .merge = false,
                                  .share = false,
                                  .policy = MemoryPolicy::kBind,
                                  .nodes = {1}};

}  // namespace

TEST_CASE("the two controllers are known by their ids, and nothing else is one") {
  CHECK(is_controller("vmrig-scsi0"));
  CHECK(is_controller("vmrig-usb0"));
  CHECK_FALSE(is_controller("vmrig-scsi1"));
  CHECK_FALSE(is_controller(""));
  const DeviceDescription usb = describe_controller("vmrig-usb0");
  CHECK(usb.front_ends.at(0).bus == FrontEnd::Bus::kPci);
  CHECK(usb.front_ends.at(0).props ==
        Json{{"driver", "qemu-xhci"}, {"id", "vmrig-usb0"}, {"p2", 15}, {"p3", 15}});
  CHECK(describe_controller("vmrig-scsi0").front_ends.at(0).props ==
        Json{{"driver", "virtio-scsi-pci"}, {"id", "vmrig-scsi0"}});
  CHECK_THROWS_AS(describe_controller("vmrig-scsi1"), std::invalid_argument);
}

TEST_CASE("a SCSI disk sits on the shared controller, with a name that stays") {
  const auto disk =
      good<DiskConfig>(R"({"id": "d", "path": "/d.img", "bus": "scsi", "serial": "S1"})");
  const DeviceDescription description = describe_disk(disk, "disks[0]", 3, {}, paths());
  CHECK(description.controller == "vmrig-scsi0");
  CHECK(description.backends.size() == 2);
  CHECK(description.front_ends.at(0).bus == FrontEnd::Bus::kOther);
  CHECK(description.front_ends.at(0).props == Json{{"driver", "scsi-hd"},
                                                   {"id", "d"},
                                                   {"bus", "vmrig-scsi0.0"},
                                                   {"drive", "d-format"},
                                                   {"device_id", "d"},
                                                   {"serial", "S1"},
                                                   {"bootindex", 3}});
  DiskConfig virtio = disk;
  virtio.bus = DiskBus::kVirtio;
  CHECK(describe_disk(virtio, "disks[0]", -1, {}, paths()).controller.empty());
}

TEST_CASE("a throttled disk has a group of its own and a filter on top") {
  const auto disk = good<DiskConfig>(R"({"id": "d", "path": "/d.img", "readonly": true,
      "throttle": {"iops": 100, "iops_max": 200, "bps_read": "4MiB", "bps_write": "1000B"}})");
  const DeviceDescription description = describe_disk(disk, "disks[0]", -1, {}, paths());
  REQUIRE(description.backends.size() == 4);
  CHECK(description.backends[0].props == Json{{"qom-type", "throttle-group"},
                                              {"id", "d-limit"},
                                              {"limits",
                                               {{"iops-total", 100},
                                                {"iops-total-max", 200},
                                                {"bps-read", 4 << 20},
                                                {"bps-write", 1000}}}});
  CHECK(description.backends[3].props == Json{{"driver", "throttle"},
                                              {"node-name", "d-limit"},
                                              {"throttle-group", "d-limit"},
                                              {"file", "d-format"},
                                              {"read-only", true},
                                              {"discard", "unmap"}});
  CHECK(description.front_ends.at(0).props.at("drive") == "d-limit");
  CHECK(describe_throttle(*disk.throttle) ==
        "4MiB read a second, 1000B written a second, 100 reads and writes a second");
}

TEST_CASE("a throttle that QEMU could not take is refused by the key at fault") {
  const auto faults = [](const std::string& throttle) {
    return faults_of<DiskConfig>(R"({"id": "d", "path": "/d", "throttle": {)" + throttle + "}}");
  };
  CHECK(has(faults(""), "throttle: limits nothing"));
  CHECK(has(faults(R"("iops": 1, "iops_read": 1)"),
            "throttle.iops_read: can't stand beside \"iops\", which is of both"));
  CHECK(has(faults(R"("bps_max": "1MiB")"), "throttle.bps_max: is of no use without \"bps\""));
  CHECK(
      has(faults(R"("bps": "2MiB", "bps_max": "1MiB")"), "throttle.bps_max: is less than \"bps\""));
  CHECK(has(faults(R"("iops": 0)"), "throttle.iops: 0 is out of range"));
}

TEST_CASE("a balloon reports free pages where that gives them back") {
  CHECK(describe_balloon({.origin = "balloon"}).front_ends.at(0).props ==
        Json{{"driver", "virtio-balloon-pci"},
             {"id", "vmrig-balloon0"},
             {"deflate-on-oom", true},
             {"free-page-reporting", true}});
  CHECK_FALSE(describe_balloon({.origin = "balloon", .reports_free_pages = false})
                  .front_ends.at(0)
                  .props.contains("free-page-reporting"));
}

TEST_CASE("an iothread or queues of a SCSI disk are refused, because the controller has them") {
  const std::string faults = faults_of<DiskConfig>(
      R"({"id": "d", "path": "/d", "bus": "scsi", "iothread": "io0", "queues": 2})");
  CHECK(has(faults, "iothread: is for virtio disks"));
  CHECK(has(faults, "queues: is for virtio disks"));
}

TEST_CASE("a DIMM is a backend and a front end on no PCI bus") {
  const auto dimm = good<MemoryDeviceConfig>(R"({"id": "m0", "size": "256MiB"})");
  const DeviceDescription description = describe_memory_device(dimm, kPlainBackend, "attach");
  CHECK(description.id == "m0");
  CHECK(description.backends.at(0).props == Json{{"qom-type", "memory-backend-ram"},
                                                 {"id", "m0-mem"},
                                                 {"size", 256 << 20},
                                                 {"merge", false},
                                                 {"dump", false},
                                                 {"share", false},
                                                 {"prealloc", true},
                                                 {"prealloc-threads", 2},
                                                 {"host-nodes", {1}},
                                                 {"policy", "bind"}});
  CHECK(description.front_ends.at(0).bus == FrontEnd::Bus::kOther);
  CHECK(description.front_ends.at(0).props ==
        Json{{"driver", "pc-dimm"}, {"id", "m0"}, {"memdev", "m0-mem"}, {"node", 0}});
}

TEST_CASE("a virtio-mem device gives all of its size, or what is requested") {
  const auto whole =
      good<MemoryDeviceConfig>(R"({"id": "m", "size": "1GiB", "kind": "virtio-mem"})");
  const DeviceDescription description = describe_memory_device(whole, kPlainBackend, "attach");
  CHECK(description.front_ends.at(0).bus == FrontEnd::Bus::kPci);
  CHECK(description.front_ends.at(0).props.at("driver") == "virtio-mem-pci");
  CHECK(description.front_ends.at(0).props.at("requested-size") == 1 << 30);
  CHECK_FALSE(description.backends.at(0).props.contains("prealloc"));
  const auto none = good<MemoryDeviceConfig>(
      R"({"id": "m", "size": "1GiB", "kind": "virtio-mem", "requested": "0MiB"})");
  CHECK(describe_memory_device(none, kPlainBackend, "attach")
            .front_ends.at(0)
            .props.at("requested-size") == 0);
}

TEST_CASE("memory on populated hugepages names their file and shares it") {
  MemoryBackend backend = kPlainBackend;
  backend.kind = MemoryBackend::Kind::kHugetlbfs;
  backend.mem_path = "/dev/hugepages/vmrig-m0";
  backend.share = true;
  const auto dimm =
      good<MemoryDeviceConfig>(R"({"id": "m0", "size": "1GiB", "hugepages": "1GiB"})");
  const Json props = describe_memory_device(dimm, backend, "attach").backends.at(0).props;
  CHECK(props.at("qom-type") == "memory-backend-file");
  CHECK(props.at("mem-path") == "/dev/hugepages/vmrig-m0");
  CHECK(props.at("share") == true);
}

TEST_CASE("memory that a guest could not take is refused with the next size") {
  CHECK(has(faults_of<MemoryDeviceConfig>(R"({"id": "m", "size": "200MiB"})"),
            "size: 200MiB is no multiple of 128MiB, the unit of a DIMM"));
  CHECK(has(faults_of<MemoryDeviceConfig>(R"({"id": "m", "size": "1536MiB", "hugepages": "1GiB"})"),
            "size: 1536MiB is no multiple of 1GiB"));
  CHECK(has(faults_of<MemoryDeviceConfig>(R"({"id": "m", "size": "256MiB", "requested": "2MiB"})"),
            "requested: is for virtio-mem"));
  CHECK(has(faults_of<MemoryDeviceConfig>(
                R"({"id": "m", "size": "2MiB", "kind": "virtio-mem", "requested": "4MiB"})"),
            "requested: 4MiB is more than the size of 2MiB"));
  CHECK(faults_of<MemoryDeviceConfig>(R"({"id": "m", "size": "6MiB", "kind": "virtio-mem"})") ==
        "");
}

TEST_CASE("an entropy source is attached by its id alone") {
  CHECK(good<RngConfig>(R"({"id": "r0"})").id == "r0");
  CHECK(has(faults_of<RngConfig>(R"({"id": "vmrig-rng0"})"), "id:"));
  CHECK(has(faults_of<RngConfig>("{}"), "id: is missing"));
}

TEST_CASE("emulated USB devices sit on the shared controller") {
  const auto tablet = good<UsbConfig>(R"({"id": "t", "type": "tablet"})");
  const DeviceDescription description = describe_usb(tablet, "usb[0]", {}, paths());
  CHECK(description.controller == "vmrig-usb0");
  CHECK(description.backends.empty());
  CHECK(description.front_ends.at(0).props ==
        Json{{"driver", "usb-tablet"}, {"id", "t"}, {"bus", "vmrig-usb0.0"}});
  const auto storage =
      good<UsbConfig>(R"({"id": "s", "type": "storage", "path": "/s.qcow2", "readonly": true})");
  const DeviceDescription stick = describe_usb(storage, "usb[1]", {}, paths());
  CHECK(stick.backends.at(1).props.at("driver") == "qcow2");
  CHECK(stick.backends.at(1).props.at("read-only") == true);
  CHECK(stick.front_ends.at(0).props == Json{{"driver", "usb-storage"},
                                             {"id", "s"},
                                             {"bus", "vmrig-usb0.0"},
                                             {"drive", "s-format"},
                                             {"removable", false},
                                             {"write-cache", "on"}});
}

TEST_CASE("a host's USB device is named by its make in two ways, or by its place") {
  const auto one = good<UsbConfig>(R"({"id": "h", "type": "host", "device": "1d6b:2"})");
  const auto two =
      good<UsbConfig>(R"({"id": "h", "type": "host", "vendor": "0x1d6b", "product": "0x0002"})");
  const auto place = good<UsbConfig>(R"({"id": "h", "type": "host", "bus": 3, "address": 7})");
  CHECK(usb_ids(one) == UsbIds{0x1d6b, 2});
  CHECK(usb_ids(two) == usb_ids(one));
  CHECK(usb_ids(place) == std::nullopt);
  CHECK(describe_usb(one, "o", {}, paths()).front_ends.at(0).props == Json{{"driver", "usb-host"},
                                                                           {"id", "h"},
                                                                           {"bus", "vmrig-usb0.0"},
                                                                           {"vendorid", 0x1d6b},
                                                                           {"productid", 2}});
  const Json by_place = describe_usb(place, "o", {}, paths()).front_ends.at(0).props;
  CHECK(by_place.at("hostbus") == 3);
  CHECK(by_place.at("hostaddr") == 7);
}

TEST_CASE("USB keys that a type has no use for, and half a name, are refused") {
  const auto faults = [](const char* keys) {
    return faults_of<UsbConfig>(std::string(R"({"id": "u", )") + keys + "}");
  };
  CHECK(has(faults(R"("type": "storage")"), "path: is missing"));
  CHECK(has(faults(R"("type": "tablet", "path": "/p")"), "path: is for a storage device"));
  CHECK(has(faults(R"("type": "mouse", "bus": 1)"), "bus: names a host's device"));
  CHECK(has(faults(R"("type": "host")"), "device: is missing"));
  CHECK(has(faults(R"("type": "host", "vendor": "0x1d6b")"), "product: is missing"));
  CHECK(has(faults(R"("type": "host", "bus": 1)"), "address: is missing"));
  CHECK(has(faults(R"("type": "host", "device": "1d6b:0002", "vendor": "0x1", "product": "0x2")"),
            "device: says the same"));
  for (const char* bad : {"1d6b", "1d6b:", ":2", "1d6b:00002", "0x1d6b:2", "1d6b:2:3"}) {
    CAPTURE(std::string(bad));
    CHECK(has(faults((std::string(R"("type": "host", "device": ")") + bad + "\"").c_str()),
              "device: "));
  }
  CHECK(has(faults(R"("type": "host", "vendor": "1d6b", "product": "0x2")"), "vendor: "));
}
