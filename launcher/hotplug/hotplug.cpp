#include "launcher/hotplug/hotplug.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <exception>
#include <nlohmann/json.hpp>
#include <utility>

#include "hostcfg/base/error.hpp"
#include "launcher/config/load_config.hpp"
#include "launcher/hotplug/qemu_refusal.hpp"

namespace vmrig {

namespace asio = boost::asio;

namespace {

constexpr std::chrono::seconds kBackgroundTimeout{10};
constexpr std::string_view kOurPrefix = "vmrig-";

// "vmrig-vcpu1" of "/machine/peripheral/vmrig-vcpu1/lapic"; empty for all else.
std::string vcpu_of_part(const std::string& path) {
  if (!path.starts_with(kPeripherals)) return {};
  const std::string below = path.substr(std::min(path.size(), kPeripherals.size() + 1));
  return below.starts_with(kVcpuPrefix) ? below.substr(0, below.find('/')) : std::string();
}

}  // namespace

Hotplug::Hotplug(HotplugParts parts)
    : parts_(std::move(parts)),
      planning_(parts_.executor),
      vcpus_(parts_.executor),
      controllers_(parts_.executor),
      under_way_(parts_.executor) {}

Hotplug::~Hotplug() = default;

const VmConfig& Hotplug::config() {
  if (!config_) config_ = config_from_json(parts_.state.config);
  return *config_;
}

void Hotplug::change_config(VmConfig config) {
  Json json = to_json(config);
  change_config(std::move(config), std::move(json));
}

void Hotplug::change_config(VmConfig config, Json json) {
  parts_.state.config = std::move(json);
  std::erase_if(parts_.state.disks,
                [&config](const auto& entry) { return !has_device(config, entry.first); });
  std::map<std::string, DiskFiles> files;
  for (const auto& [id, disk] : parts_.state.disks) files[id] = disk.files;
  claim_devices(config, files, parts_.state.claim);
  std::erase_if(parts_.state.usb_places,
                [&config](const auto& entry) { return !has_device(config, entry.first); });
  parts_.state.claim.usb.clear();
  for (const auto& [id, place] : parts_.state.usb_places) {
    parts_.state.claim.usb.push_back(place);
  }
  config_ = std::move(config);
}

void Hotplug::remove_from_config(const std::string& id) {
  const VmConfig& now = config();
  change_config(without_device(now, id),
                without_device(std::exchange(parts_.state.config, {}), now, id));
}

asio::awaitable<Json> Hotplug::execute(QmpCommand command, qmp::Deadline deadline, int fd) {
  qmp::ExecuteOptions options;
  options.deadline = deadline;
  if (fd >= 0) options.fds = {fd};
  qmp::Json answer = co_await parts_.monitor().execute(
      std::move(command.name), std::move(command.arguments), std::move(options));
  co_return answer;
}

asio::awaitable<Json> Hotplug::peripherals(qmp::Deadline deadline) {
  QmpCommand list{"qom-list", Json{{"path", kPeripherals}}};
  Json entries = co_await execute(std::move(list), deadline);
  co_return entries;
}

void Hotplug::in_background(asio::awaitable<void> task) {
  auto done = [this, mark = under_way_.begin()](std::exception_ptr fault) {
    if (!fault) return;
    try {
      std::rethrow_exception(fault);
    } catch (const std::exception& error) {
      parts_.log(error.what());
    }
  };
  asio::co_spawn(parts_.executor, std::move(task), std::move(done));
}

asio::awaitable<Json> Hotplug::set(Json arguments) {
  refuse_while_suspended("change");
  const UnderWay::Mark mark = under_way_.begin();
  const SetRequest request = set_request(arguments);
  const qmp::Deadline deadline = qmp::deadline_in(request.timeout);
  Json answer = Json::object();
  for (const auto& [id, link] : request.links) {
    co_await set_link(id, link, deadline);
    answer["link"][id] = link == SetRequest::Link::kUp ? "up" : "down";
  }
  if (request.vcpus) {
    co_await set_vcpus(*request.vcpus, deadline);
    answer["vcpus"] = *request.vcpus;
  }
  if (request.memory) {
    co_await set_memory(*request.memory, deadline);
    answer["memory"] = to_string(*request.memory);
  }
  if (request.balloon) {
    co_await set_balloon(*request.balloon, deadline);
    answer["balloon"] = to_string(*request.balloon);
  }
  co_return answer;
}

asio::awaitable<void> Hotplug::set_link(std::string id, SetRequest::Link link,
                                        qmp::Deadline deadline) {
  const auto& nics = config().nics;
  const auto nic = std::find_if(nics.begin(), nics.end(),
                                [&id](const NicConfig& candidate) { return candidate.id == id; });
  if (nic == nics.end()) {
    throw Error({.status = ExitStatus::kUsage,
                 .operation = "set the link of",
                 .object = id,
                 .cause = "the VM has no NIC with this id",
                 .mend = "vmrig status " + parts_.state.name});
  }
  if (nic->type == NicType::kVf) {
    throw Error({.status = ExitStatus::kUsage,
                 .operation = "set the link of",
                 .object = id,
                 .cause = "it is a VF: its PF decides about its link",
                 .mend = "ip link set PF vf N state disable"});
  }
  QmpCommand command{"set_link", Json{{"name", id}, {"up", link == SetRequest::Link::kUp}}};
  try {
    (void)co_await execute(std::move(command), deadline);
  } catch (const qmp::Error& fault) {
    throw qemu_refusal("set the link of", id, fault);
  }
  VmConfig now = config();
  for (NicConfig& each : now.nics) {
    if (each.id == id) each.link = link == SetRequest::Link::kUp ? NicLink::kUp : NicLink::kDown;
  }
  change_config(std::move(now));
  parts_.save();
}

void Hotplug::on_event(const qmp::Event& event) {
  const std::string device = event.data.value("device", std::string());
  if (event.name == "DEVICE_DELETED") {
    // Without an id it is of a part of a device (…/virtio-backend). A vCPU's own never comes: it is
    // its local APIC's that tells (seen with QEMU 7.2 under TCG).
    const std::string id =
        device.empty() ? vcpu_of_part(event.data.value("path", std::string())) : device;
    if (!id.empty()) on_deleted(id);
  } else if (event.name == "DEVICE_UNPLUG_GUEST_ERROR" || event.name == "MEM_UNPLUG_ERROR") {
    if (device.empty()) return;
    set_pending(device, false);
    const auto found = unplugs_.find(device);
    if (found == unplugs_.end()) return;
    const std::string words = event.data.value("msg", std::string());
    found->second->refusal = "the guest refuses" + (words.empty() ? "" : ": " + words);
    found->second->changed.cancel();
  } else if (event.name == "RESET" || event.name == "RESUME") {
    for (const auto& [id, unplug] : unplugs_) {
      unplug->asks_again = true;
      unplug->changed.cancel();
    }
  }
}

void Hotplug::on_foreign_change() { in_background(refresh_devices()); }

// What stands in /machine/peripheral and is neither in the config nor vmrig's own.
asio::awaitable<void> Hotplug::refresh_devices() {
  const Json entries = co_await peripherals(qmp::deadline_in(kBackgroundTimeout));
  std::vector<std::string> foreign;
  for (const Json& entry : entries) {
    const std::string id = entry.value("name", std::string());
    const bool is_device = entry.value("type", std::string()).starts_with("child<");
    if (is_device && !id.starts_with(kOurPrefix) && !has_device(config(), id) &&
        plugging_.count(id) == 0) {
      foreign.push_back(id);
    }
  }
  std::sort(foreign.begin(), foreign.end());
  co_await update_threads(qmp::deadline_in(kBackgroundTimeout));
  parts_.state.foreign_devices = std::move(foreign);
  parts_.save();
}

}  // namespace vmrig
