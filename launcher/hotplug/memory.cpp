// Hotplug: memory grows and shrinks.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "hostcfg/base/error.hpp"
#include "launcher/hotplug/hotplug.hpp"
#include "launcher/hotplug/qemu_refusal.hpp"

namespace vmrig {

namespace asio = boost::asio;

namespace {

Error set_memory_error(ExitStatus status, std::string cause, std::string mend) {
  return Error({.status = status,
                .operation = "set memory",
                .object = {},
                .cause = std::move(cause),
                .mend = std::move(mend)});
}

Bytes given_by(const MemoryDeviceConfig& device) { return device.requested.value_or(device.size); }

Bytes size_now(const VmConfig& config) {
  Bytes size = config.memory.size;
  for (const MemoryDeviceConfig& device : config.memory.devices) size = size + given_by(device);
  return size;
}

// "dimm0" or the next that is free.
std::string new_dimm_id(const VmConfig& config) {
  for (int number = 0;; ++number) {
    std::string id = fmt::format("dimm{}", number);
    if (!has_device(config, id)) return id;
  }
}

}  // namespace

asio::awaitable<void> Hotplug::set_memory(Bytes size, qmp::Deadline deadline) {
  const VmConfig& now = config();
  if (size < now.memory.size) {
    throw set_memory_error(ExitStatus::kUsage,
                           fmt::format("{} is less than the {} that the VM was started with",
                                       to_string(size), to_string(now.memory.size)),
                           {});
  }
  const auto& devices = now.memory.devices;
  const auto virtio_mem = std::find_if(
      devices.begin(), devices.end(),
      [](const MemoryDeviceConfig& device) { return device.kind == MemoryDeviceKind::kVirtioMem; });
  const Bytes present = size_now(now);
  if (virtio_mem != devices.end()) {
    const std::uint64_t others = present.value - given_by(*virtio_mem).value;
    const std::string id = virtio_mem->id;
    co_await resize_virtio_mem(id, Bytes{size.value < others ? 0 : size.value - others}, deadline);
  } else if (size > present) {
    const Bytes more{size.value - present.value};
    const auto left = std::chrono::duration<double>(deadline - std::chrono::steady_clock::now());
    const Json device = {{"id", new_dimm_id(now)}, {"size", to_string(more)}};
    Json arguments = {
        {"kind", "memory"}, {"device", device}, {"timeout", std::max(0.0, left.count())}};
    (void)co_await attach_now(std::move(arguments));
  } else {
    co_await remove_dimms(Bytes{present.value - size.value}, deadline);
  }
}

// The last that came go first; they have to make up the difference exactly.
asio::awaitable<void> Hotplug::remove_dimms(Bytes surplus, qmp::Deadline deadline) {
  const std::vector<MemoryDeviceConfig> devices = config().memory.devices;
  std::vector<std::string> ids;
  std::vector<std::string> sizes;
  Bytes rest = surplus;
  for (auto device = devices.rbegin(); device != devices.rend(); ++device) {
    sizes.push_back(to_string(device->size));
    if (device->size > rest) continue;
    rest = Bytes{rest.value - device->size.value};
    ids.push_back(device->id);
  }
  if (rest.value > 0) {
    throw set_memory_error(
        ExitStatus::kUsage,
        fmt::format("{} less is no sum of DIMMs; there are {}", to_string(surplus),
                    sizes.empty() ? "none" : fmt::format("{}", fmt::join(sizes, ", "))),
        "a virtio-mem device can be resized to any size");
  }
  for (const std::string& id : ids) co_await unplug(id, deadline);
}

asio::awaitable<void> Hotplug::resize_virtio_mem(std::string id, Bytes size,
                                                 qmp::Deadline deadline) {
  VmConfig after = config();
  const auto device = std::find_if(after.memory.devices.begin(), after.memory.devices.end(),
                                   [&id](const MemoryDeviceConfig& d) { return d.id == id; });
  if (size > device->size) {
    throw set_memory_error(
        ExitStatus::kUsage,
        fmt::format("virtio-mem device \"{}\" gives {} at most", id, to_string(device->size)),
        fmt::format("vmrig attach {} memory, for more", parts_.state.name));
  }
  qmp::EventWaiter changes(parts_.monitor(), [id](const qmp::Event& event) {
    return event.name == "MEMORY_DEVICE_SIZE_CHANGE" && event.data.value("id", std::string()) == id;
  });
  const std::string path = "/machine/peripheral/" + id;
  std::uint64_t reached = 0;
  try {
    QmpCommand request{"qom-set",
                       Json{{"path", path}, {"property", "requested-size"}, {"value", size.value}}};
    (void)co_await execute(std::move(request), deadline);
    device->requested = size;
    change_config(std::move(after));
    parts_.save();
    QmpCommand look{"qom-get", Json{{"path", path}, {"property", "size"}}};
    const Json given = co_await execute(std::move(look), deadline);
    reached = given.get<std::uint64_t>();
    while (reached != size.value) {
      const qmp::Event change = co_await changes.next(deadline);
      reached = change.data.value("size", reached);
    }
  } catch (const qmp::Error& error) {
    if (error.kind() != qmp::ErrorKind::timeout) throw qemu_refusal("set memory of", id, error);
    throw set_memory_error(ExitStatus::kTimeUp,
                           fmt::format("the guest has got to {} of the {} of \"{}\"; it goes on",
                                       to_string(Bytes{reached}), to_string(size), id),
                           fmt::format("vmrig qmp {} query-memory-devices", parts_.state.name));
  }
}

}  // namespace vmrig
