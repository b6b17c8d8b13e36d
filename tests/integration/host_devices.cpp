// The commands on PCI devices and VFs, on whatever host this is; the lab has real ones.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "tests/support/vm_guard.hpp"

using namespace vmrig;
using namespace vmrig::testing;

namespace {

constexpr const char* kNoDevice = "ffff:ff:1f.7";

bool has(const std::string& text, const std::string& part) {
  const bool found = text.find(part) != std::string::npos;
  if (!found) MESSAGE("missing: " << part << "\nin: " << text);
  return found;
}

}  // namespace

TEST_CASE("devices and PFs are listed for people and programs") {
  const VmGuard guard;
  const CommandResult table = guard.vmrig({"vfio", "list"});
  CHECK(table.status == 0);
  CHECK(has(table.out, "DEVICE"));
  const Json devices = guard.vmrig_json({"vfio", "list", "--json"});
  REQUIRE(devices.is_array());
  for (const Json& device : devices) {
    CHECK(device.at("viable").is_boolean());
    CHECK((device.at("viable").get<bool>() || !device.at("diagnosis").get<std::string>().empty()));
  }
  CHECK(guard.vmrig({"sriov", "list"}).status == 0);
  CHECK(guard.vmrig_json({"sriov", "list", "--json"}).is_array());
}

TEST_CASE(
    "devices that are not there are refused by every command, with the status of a host's lack") {
  const VmGuard guard;
  for (const char* verb : {"bind", "release"}) {
    const CommandResult refused = guard.vmrig({"vfio", verb, kNoDevice});
    CHECK(refused.status == 3);
    CHECK(has(refused.err, kNoDevice));
    CHECK(guard.vmrig({"vfio", verb}).status == 2);
    CHECK(guard.vmrig({"vfio", verb, "nonsense"}).status == 2);
  }
  CHECK(guard.vmrig({"sriov", "list", "nonsense"}).status == 3);
  CHECK(guard.vmrig({"sriov", "set", "nonsense", "--vfs", "2"}).status == 3);
  CHECK(guard.nothing_left());
}

TEST_CASE("a VM with a device that is not there does not start, and leaves nothing") {
  const VmGuard guard;
  Json config = guard.config("v");
  config["vfio"] = Json::array({{{"id", "d"}, {"host", kNoDevice}}});
  const CommandResult refused = guard.vmrig({"start", guard.write_config(config)});
  CHECK(refused.status == 3);
  CHECK(has(refused.err, "vfio[0].host: this host has no device ffff:ff:1f.7"));
  CHECK(guard.nothing_left());
}
