// One device more or less in a VM's config: its JSON is kept as the whole would be written.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "launcher/config/load_config.hpp"
#include "launcher/hotplug/attach_plan.hpp"
#include "tests/support/plan_inputs.hpp"

using namespace vmrig;
using namespace vmrig::testing;

namespace {

const char* const kVm = R"({"name": "w", "memory": {"size": "1GiB", "max": "8GiB"},
  "boot": {"order": ["lan", "root"]},
  "disks": [{"id": "root", "path": "/i/root.img"}, {"id": "data", "path": "/i/data.img"}],
  "nics": [{"id": "lan", "type": "user"}], "rngs": [{"id": "dice"}]})";

struct Case {
  DeviceKind kind;
  Json device;
};

const Case kCases[] = {
    {DeviceKind::kDisk, {{"id", "d"}, {"path", "/i/d.img"}, {"io_max", {{"read_iops", 7}}}}},
    {DeviceKind::kNic, {{"id", "n"}, {"type", "user"}, {"forward", {"tcp::2222-:22"}}}},
    {DeviceKind::kVfio, {{"id", "v"}, {"host", "0000:3b:00.0"}}},
    {DeviceKind::kUsb, {{"id", "u"}, {"type", "tablet"}}},
    {DeviceKind::kMemory, {{"id", "m"}, {"size", "512MiB"}}},
    {DeviceKind::kRng, {{"id", "r"}}},
    {DeviceKind::kChannel, {{"id", "c"}, {"name", "org.example.c"}}}};

}  // namespace

TEST_CASE("the JSON of a VM with one device more or less is what the config would give") {
  const VmConfig vm = config_of(kVm);
  for (const Case& each : kCases) {
    CAPTURE(each.device.dump());
    const AttachWish wish = read_wish(to_json(vm), each.kind, each.device);
    CHECK(wish.after_json == to_json(wish.after));
    CHECK(wish.after_json != to_json(vm));
    CHECK(without_device(wish.after_json, wish.after, wish.id) == to_json(vm));
  }
  for (const char* id : {"root", "data", "lan", "dice", "nobody"}) {
    CAPTURE(id);
    CHECK(without_device(to_json(vm), vm, id) == to_json(without_device(vm, id)));
  }
}
