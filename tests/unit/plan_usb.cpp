// USB devices of the host: found, chosen, refused; and the images of USB storage devices.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "hostcfg/folder_reader.hpp"
#include "hostcfg/usb_devices.hpp"
#include "launcher/usb.hpp"
#include "tests/support/plan_inputs.hpp"
#include "tests/unit/hostcfg_support.hpp"

using namespace vmrig;
using namespace vmrig::testing;

namespace {

bool has(const std::string& text, const std::string& part) {
  const bool found = text.find(part) != std::string::npos;
  if (!found) MESSAGE("missing: " << part << "\nin: " << text);
  return found;
}

UsbDeviceFacts usb_device(int bus, int address, std::uint16_t product) {
  return {.bus = bus,
          .address = address,
          .vendor = 0x0781,
          .product = product,
          .name = "Stick",
          .node = {.exists = true, .opens = true, .error = {}}};
}

HostFacts host_with(std::vector<UsbDeviceFacts> devices) {
  HostFacts facts = recorded_facts("vm-2cpu");
  facts.usb = std::move(devices);
  return facts;
}

std::string config_with(const std::string& usb) {
  return R"({"name": "u", "memory": {"size": "64MiB"}, "usb": [)" + usb + "]}";
}

const std::string kStick = R"({"id": "s", "type": "host", "device": "0781:5581"})";

// The -device argument of that id.
Json device_argument(const Plan& plan, const std::string& id) {
  for (const QemuArgument& argument : plan.arguments) {
    if (argument.words.front() != "-device") continue;
    Json props = Json::parse(argument.words.at(1));
    if (props.at("id") == id) return props;
  }
  return {};
}

void write_device(test::FakeRoot& root, const std::string& name, const std::string& bus,
                  const std::string& address, const std::string& device_class) {
  const std::string folder = "sys/bus/usb/devices/" + name + "/";
  root.write(folder + "busnum", bus + "\n");
  root.write(folder + "devnum", address + "\n");
  root.write(folder + "idVendor", "0781\n");
  root.write(folder + "idProduct", "5581\n");
  root.write(folder + "bDeviceClass", device_class + "\n");
}

}  // namespace

TEST_CASE("USB devices are read without hubs and interfaces, by bus and address") {
  test::FakeRoot root;
  write_device(root, "2-1", "2", "4", "00");
  write_device(root, "1-1.2", "1", "11", "ef");
  write_device(root, "usb1", "1", "1", "09");
  root.write("sys/bus/usb/devices/2-1/product", "Ultra Fit\n");
  root.write("sys/bus/usb/devices/2-1:1.0/bInterfaceClass", "08\n");
  root.write("dev/bus/usb/002/004", "no device node\n");
  const auto reader = FolderReader::open(root.path());
  REQUIRE(reader);
  const std::vector<UsbDeviceFacts> devices = read_usb_devices(*reader);
  REQUIRE(devices.size() == 2);
  CHECK(usb_place(devices[0]) == "1.11");
  CHECK(usb_place(devices[1]) == "2.4");
  CHECK(devices[1].vendor == 0x0781);
  CHECK(devices[1].product == 0x5581);
  CHECK(devices[1].name == "Ultra Fit");
  CHECK_FALSE(devices[0].node.exists);
  CHECK(devices[1].node.error == "it is not a character device");
}

TEST_CASE("recorded facts keep USB devices, and need not have any") {
  const HostFacts facts = host_with({usb_device(1, 5, 0x5581), usb_device(2, 3, 0x0001)});
  const HostFacts again = facts_from_json(to_json(facts));
  CHECK(to_json(again) == to_json(facts));
  REQUIRE(again.usb.size() == 2);
  CHECK(again.usb[1].bus == 2);
  CHECK(recorded_facts("vm-2cpu").usb.empty());
}

TEST_CASE("a host's USB device that is there is given by its make and claimed by its place") {
  const Plan plan = plan_of(config_with(kStick), host_with({usb_device(1, 5, 0x5581)}), {});
  CHECK(problems_of(plan) == "");
  CHECK(plan.claim.usb == std::vector<std::string>{"1.5"});
  CHECK(lease_from_json(to_json(plan.claim)).usb == plan.claim.usb);
  const Json device = device_argument(plan, "s");
  CHECK(device.at("productid") == 0x5581);
  CHECK_FALSE(device.contains("hostbus"));
  CHECK(device_argument(plan, "vmrig-usb0").at("driver") == "qemu-xhci");
}

TEST_CASE("of two devices of one make the free one is named by its place") {
  Lease other;
  other.vm = "other";
  other.usb = {"1.5"};
  const HostFacts facts = host_with({usb_device(1, 5, 0x5581), usb_device(2, 3, 0x5581)});
  const Plan plan = plan_of(config_with(kStick), facts, {other});
  CHECK(problems_of(plan) == "");
  CHECK(plan.claim.usb == std::vector<std::string>{"2.3"});
  CHECK(device_argument(plan, "s").at("hostbus") == 2);
  CHECK(device_argument(plan, "s").at("hostaddr") == 3);
}

TEST_CASE("a host's USB device that is missing, held, taken twice or closed is a problem") {
  const auto problems = [](const std::string& usb, std::vector<UsbDeviceFacts> devices,
                           std::vector<Lease> leases) {
    return problems_of(plan_of(config_with(usb), host_with(std::move(devices)), std::move(leases)));
  };
  CHECK(has(problems(kStick, {}, {}), "3 usb[0]: this host has no USB device 0781:5581"));
  CHECK(has(problems(kStick, {}, {}), "| lsusb"));
  Lease other;
  other.vm = "other";
  other.usb = {"1.5"};
  CHECK(has(problems(kStick, {usb_device(1, 5, 0x5581)}, {other}),
            "6 usb[0]: the USB device 0781:5581 is held by VM \"other\" | vmrig stop other"));
  const std::string again = R"({"id": "t", "type": "host", "bus": 1, "address": 5})";
  CHECK(has(problems(kStick + "," + again, {usb_device(1, 5, 0x5581)}, {}),
            "2 usb[1]: the USB device on bus 1, address 5 is this VM's already"));
  UsbDeviceFacts closed = usb_device(1, 5, 0x5581);
  closed.node = {.exists = true, .opens = false, .error = "Permission denied"};
  CHECK(has(problems(kStick, {closed}, {}), "/dev/bus/usb/001/005 can't be opened"));
}

TEST_CASE("a USB storage's image is checked and claimed as a disk's is") {
  HostFacts facts = host_with({});
  facts.paths["/i/a.img"] = {};
  const std::string storage = R"({"id": "s", "type": "storage", "path": "/i/a.img"})";
  CHECK(has(problems_of(plan_of(config_with(storage), facts, {})),
            "2 usb[0].path: \"/i/a.img\": no such file"));
  Lease other;
  other.vm = "other";
  other.written_disks = {"/i/a.img"};
  CHECK(has(problems_of(plan_of(config_with(storage), facts, {other})),
            "6 usb[0].path: \"/i/a.img\" is in use by VM \"other\""));
  CHECK(plan_of(config_with(storage), facts, {}).claim.written_disks ==
        std::vector<std::string>{"/i/a.img"});
  CHECK(
      config_of(config_with(R"({"id": "s", "type": "storage", "path": "a.img"})")).usb.at(0).path ==
      "/vms/a.img");
}
