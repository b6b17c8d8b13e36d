// Hotplug: QEMU ends, and another takes its place.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "hostcfg/base/error.hpp"
#include "launcher/config/load_config.hpp"
#include "launcher/hotplug/hotplug.hpp"

namespace vmrig {

namespace asio = boost::asio;

namespace {

constexpr std::chrono::seconds kReplayTimeout{30};

struct PluggedList {
  DeviceKind kind;
  const char* place;  // a JSON pointer
};

// In the order in which they are plugged in again.
constexpr std::array<PluggedList, 7> kPlugged = {
    PluggedList{DeviceKind::kDisk, "/disks"},
    PluggedList{DeviceKind::kNic, "/nics"},
    PluggedList{DeviceKind::kVfio, "/vfio"},
    PluggedList{DeviceKind::kUsb, "/usb"},
    PluggedList{DeviceKind::kMemory, "/memory/devices"},
    PluggedList{DeviceKind::kRng, "/rngs"},
    PluggedList{DeviceKind::kChannel, "/channels"}};

Json devices_at(const Json& config, const char* place) {
  const Json::json_pointer pointer(place);
  return config.contains(pointer) ? config.at(pointer) : Json::array();
}

// What `now` has and `first` has not, as vmrig-attach takes it.
std::vector<Json> attaches_of(const Json& now, const VmConfig& first) {
  std::vector<Json> attaches;
  for (const PluggedList& list : kPlugged) {
    for (const Json& device : devices_at(now, list.place)) {
      if (has_device(first, device.value("id", std::string()))) continue;
      attaches.push_back({{"kind", kind_name(list.kind)}, {"device", device}});
    }
  }
  return attaches;
}

std::vector<std::string> gone_since(const VmConfig& first, const VmConfig& now) {
  std::vector<std::string> gone;
  const Json config = to_json(first);
  for (const PluggedList& list : kPlugged) {
    for (const Json& device : devices_at(config, list.place)) {
      auto id = device.value("id", std::string());
      if (!has_device(now, id)) gone.push_back(std::move(id));
    }
  }
  return gone;
}

std::map<std::string, Bytes> sizes_since(const VmConfig& first, const VmConfig& now) {
  std::map<std::string, Bytes> sizes;
  for (const MemoryDeviceConfig& device : now.memory.devices) {
    const auto& devices = first.memory.devices;
    const auto old =
        std::find_if(devices.begin(), devices.end(),
                     [&device](const MemoryDeviceConfig& each) { return each.id == device.id; });
    if (old == devices.end() || !device.requested || device.requested == old->requested) continue;
    sizes[device.id] = *device.requested;
  }
  return sizes;
}

}  // namespace

void Replay::add(Replay earlier) {
  for (Json& attach : earlier.attaches) {
    const bool is_there = std::any_of(attaches.begin(), attaches.end(), [&](const Json& each) {
      return each.at("device").at("id") == attach.at("device").at("id");
    });
    if (!is_there) attaches.push_back(std::move(attach));
  }
  virtio_mem.merge(std::move(earlier.virtio_mem));
  vcpus = std::max(vcpus, earlier.vcpus);
}

void Hotplug::refuse_while_suspended(const char* operation) const {
  if (!is_suspended_ && parts_.state.state != RunState::kRestarting) return;
  throw Error({.status = ExitStatus::kBusy,
               .operation = operation,
               .object = parts_.state.name,
               .cause = "the VM has ended, and is about to be started anew",
               .mend = "vmrig status " + parts_.state.name});
}

asio::awaitable<Replay> Hotplug::suspend(VmConfig first) {
  is_suspended_ = true;
  // With QEMU their devices have gone.
  for (const auto& [id, unplug] : unplugs_) {
    unplug->is_gone = true;
    unplug->changed.cancel();
  }
  co_await under_way_.wait_for_none();
  unplugs_.clear();
  VmState& state = parts_.state;
  const std::vector<std::string> pending = std::exchange(state.pending_unplugs, {});
  for (const std::string& id : pending) {
    co_await release_host_device(id);
    remove_from_config(id);
  }
  Replay replay;
  const VmConfig now = config();
  replay.gone = gone_since(first, now);
  replay.attaches = attaches_of(state.config, first);
  replay.virtio_mem = sizes_since(first, now);
  if (now.cpu.vcpus > first.cpu.vcpus) replay.vcpus = now.cpu.vcpus;
  for (const Json& attach : replay.attaches) {
    const auto id = attach.at("device").at("id").get<std::string>();
    co_await release_host_device(id);
  }
  for (const std::string& id : replay.gone) first = without_device(std::move(first), id);
  change_config(std::move(first));
  state.foreign_devices.clear();
  taken_.clear();
  plugging_.clear();
  parts_.save();
  co_return replay;
}

asio::awaitable<void> Hotplug::replay(Replay replay) {
  for (Json& attach : replay.attaches) co_await attach_again(std::move(attach));
  for (const auto& [id, size] : replay.virtio_mem) co_await request_size(id, size);
  if (replay.vcpus == 0) co_return;
  try {
    co_await set_vcpus(replay.vcpus, qmp::deadline_in(kReplayTimeout));
  } catch (const std::exception& fault) {
    parts_.log(fmt::format("not as before: {}", fault.what()));
  }
}

asio::awaitable<void> Hotplug::attach_again(Json arguments) {
  const auto id = arguments.at("device").at("id").get<std::string>();
  try {
    (void)co_await attach_now(std::move(arguments));
  } catch (const std::exception& fault) {
    parts_.log(fmt::format("{} is not attached again: {}", id, fault.what()));
  }
}

// The guest gets to it when it has booted.
asio::awaitable<void> Hotplug::request_size(std::string id, Bytes size) {
  try {
    QmpCommand command{"qom-set", Json{{"path", fmt::format("{}/{}", kPeripherals, id)},
                                       {"property", "requested-size"},
                                       {"value", size.value}}};
    (void)co_await execute(std::move(command), qmp::deadline_in(kReplayTimeout));
  } catch (const qmp::Error& fault) {
    parts_.log(fmt::format("{} does not get its size again: {}", id, fault.what()));
    co_return;
  }
  VmConfig after = config();
  for (MemoryDeviceConfig& device : after.memory.devices) {
    if (device.id == id) device.requested = size;
  }
  change_config(std::move(after));
}

}  // namespace vmrig
