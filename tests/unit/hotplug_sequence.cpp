// A device description as QMP commands.
#include <doctest/doctest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "devices/disk.hpp"
#include "launcher/hotplug/sequence.hpp"

using namespace vmrig;

namespace {

const FdNaming kByPath = [](const FdSource& source) { return source.name; };

DeviceDescription disk_with(const DiskFiles& files, bool is_throttled) {
  DiskConfig disk;
  disk.id = "d";
  disk.path = "/i/d.qcow2";
  if (is_throttled) disk.throttle.emplace();
  return describe_disk(disk, "disk", -1, files, kByPath);
}

// The names of the block nodes, each before what is inside it.
void collect_names(const Json& node, std::vector<std::string>& names) {
  names.push_back(node.at("node-name").get<std::string>());
  for (const Json& child : node) {
    if (child.is_object() && child.contains("node-name")) collect_names(child, names);
  }
}

std::vector<std::string> names_of(const DeviceDescription& device) {
  std::vector<std::string> names;
  for (const Backend& backend : device.backends) {
    if (backend.kind == BackendKind::kBlockdev) collect_names(backend.props, names);
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

TEST_CASE(
    "a disk's block nodes come as one tree with the names and properties that they have alone") {
  DiskFiles files;
  files.backing.push_back({.file = {"/i/base.qcow2", false}, .format = "qcow2", .data = {}});
  files.backing.back().data = ImageFile{"/i/base.data", false};
  files.backing.push_back({.file = {"/i/first.img", false}, .format = "raw", .data = {}});
  files.data = ImageFile{"/i/d.data", false};
  for (const bool is_throttled : {false, true}) {
    const DeviceDescription apart = disk_with(files, is_throttled);
    const DeviceDescription tree = with_block_tree(apart);
    CHECK(names_of(tree) == names_of(apart));
    CHECK(tree.backends.size() == (is_throttled ? 2 : 1));
    const Json& top = tree.backends.back().props;
    CHECK(top.at("node-name") == Json(is_throttled ? "d-limit" : "d-format"));
    const Json& format = is_throttled ? top.at("file") : top;
    CHECK(format.at("file") ==
          Json{{"driver", "file"}, {"node-name", "d-file"}, {"filename", "/i/d.qcow2"}});
    CHECK(format.at("backing").at("file").at("discard") == Json("ignore"));
    CHECK(format.at("backing").at("backing").at("file").at("filename") == Json("/i/first.img"));
    CHECK(backend_removal(tree).front().arguments == Json{{"node-name", top.at("node-name")}});
  }
}

TEST_CASE("what has no block nodes stays as it is") {
  DeviceDescription device;
  device.backends.push_back({BackendKind::kNetdev, {{"type", "user"}, {"id", "n"}}});
  device.backends.push_back({BackendKind::kObject, {{"qom-type", "x"}, {"id", "o"}}});
  const DeviceDescription same = with_block_tree(device);
  REQUIRE(same.backends.size() == 2);
  CHECK(same.backends.front().props == device.backends.front().props);
  CHECK(same.backends.back().props == device.backends.back().props);
}
