#include "launcher/hotplug/sequence.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

namespace vmrig {
namespace {

struct Verbs {
  const char* add;
  const char* remove;
  const char* add_key;     // what names the backend among add's arguments
  const char* remove_key;  // and among remove's
};

Verbs verbs_of(BackendKind kind) {
  switch (kind) {
    case BackendKind::kObject:
      break;
    case BackendKind::kBlockdev:
      return {"blockdev-add", "blockdev-del", "node-name", "node-name"};
    case BackendKind::kNetdev:
      return {"netdev_add", "netdev_del", "id", "id"};
    case BackendKind::kChardev:
      return {"chardev-add", "chardev-remove", "id", "id"};
  }
  return {"object-add", "object-del", "id", "id"};
}

PlugStep backend_step(const Backend& backend) {
  const Verbs verbs = verbs_of(backend.kind);
  return {.plug = {verbs.add, backend.props},
          .unplug = {verbs.remove, Json{{verbs.remove_key, backend.props.at(verbs.add_key)}}}};
}

// Moves into `above` what it names.
void take_in(Json& above, std::vector<Backend>& below) {
  for (const char* key : {"file", "data-file", "backing"}) {
    const auto place = above.find(key);
    if (place == above.end() || !place->is_string()) continue;
    const auto is_named = [&place](const Backend& backend) {
      return backend.kind == BackendKind::kBlockdev && backend.props.at("node-name") == *place;
    };
    const auto found = std::find_if(below.begin(), below.end(), is_named);
    if (found == below.end()) continue;
    // What stands alone ignores discards unless told else, what is inside does not (qemu block.c
    // bdrv_inherited_options).
    if (!found->props.contains("discard")) {
      found->props["discard"] = "ignore";
    } else if (found->props["discard"] == "unmap") {
      found->props.erase("discard");
    }
    *place = std::move(found->props);
    below.erase(found);
  }
}

}  // namespace

DeviceDescription with_block_tree(DeviceDescription device) {
  std::vector<Backend> backends;
  for (Backend& backend : device.backends) {
    if (backend.kind == BackendKind::kBlockdev) take_in(backend.props, backends);
    backends.push_back(std::move(backend));
  }
  device.backends = std::move(backends);
  return device;
}

std::vector<PlugStep> backend_steps(const DeviceDescription& device) {
  std::vector<PlugStep> steps;
  for (const Backend& backend : device.backends) steps.push_back(backend_step(backend));
  return steps;
}

PlugStep front_end_step(const FrontEnd& front_end) {
  return {.plug = {"device_add", front_end.props},
          .unplug = {"device_del", Json{{"id", front_end.props.at("id")}}}};
}

QmpCommand fdset_removal(std::int64_t set) { return {"remove-fd", Json{{"fdset-id", set}}}; }

std::vector<QmpCommand> backend_removal(const DeviceDescription& device) {
  std::vector<QmpCommand> commands;
  for (const Backend& backend : device.backends) commands.push_back(backend_step(backend).unplug);
  std::reverse(commands.begin(), commands.end());
  return commands;
}

}  // namespace vmrig
