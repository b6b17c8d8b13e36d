// Hotplug: the balloon, by which the guest gives memory back and gets it again.
#include "devices/balloon.hpp"

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

// A guest with less kills its own processes.
constexpr Bytes kLeast = Bytes::mib(64);
constexpr std::chrono::seconds kLookTimeout{2};
constexpr std::uint64_t kNotTold = ~std::uint64_t{0};

std::int64_t seconds_since_epoch() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

Error set_balloon_error(ExitStatus status, std::string cause, std::string mend) {
  return Error({.status = status,
                .operation = "set balloon",
                .object = {},
                .cause = std::move(cause),
                .mend = std::move(mend)});
}

// All but virtio-mem, which has a way of its own. Source: qemu hw/virtio/virtio-balloon.c
// get_current_ram_size.
Bytes most_of(const VmConfig& config) {
  Bytes size = config.memory.size;
  for (const MemoryDeviceConfig& device : config.memory.devices) {
    if (device.kind == MemoryDeviceKind::kDimm) size = size + device.size;
  }
  return size;
}

}  // namespace

asio::awaitable<void> Hotplug::set_balloon(Bytes size, qmp::Deadline deadline) {
  const VmConfig& now = config();
  if (!now.balloon) {
    throw set_balloon_error(ExitStatus::kUsage, "the VM has none",
                            R"(start it with "balloon": true)");
  }
  const Bytes most = most_of(now);
  const Bytes least = std::min(kLeast, most);
  if (size > most || size < least) {
    throw set_balloon_error(
        ExitStatus::kUsage,
        fmt::format("{} is not between {} and the {} that the VM has", to_string(size),
                    to_string(least), to_string(most)),
        size > most ? fmt::format("vmrig set {} memory={}", parts_.state.name, to_string(size))
                    : std::string());
  }
  // The size that the guest is left with, each time it has given or taken something.
  qmp::EventWaiter changes(parts_.monitor(),
                           [](const qmp::Event& event) { return event.name == "BALLOON_CHANGE"; });
  std::uint64_t reached = 0;
  try {
    QmpCommand request{"balloon", Json{{"value", size.value}}};
    (void)co_await execute(std::move(request), deadline);
    QmpCommand look{"query-balloon", Json::object()};
    const Json before = co_await execute(std::move(look), deadline);
    reached = before.at("actual").get<std::uint64_t>();
    while (reached != size.value) {
      const qmp::Event change = co_await changes.next(deadline);
      reached = change.data.value("actual", reached);
    }
  } catch (const qmp::Error& error) {
    if (error.kind() != qmp::ErrorKind::timeout) {
      throw qemu_refusal("set balloon of", parts_.state.name, error);
    }
    throw set_balloon_error(
        ExitStatus::kTimeUp,
        fmt::format("the guest has got to {} of memory on the way to {}; it goes on",
                    to_string(Bytes{reached}), to_string(size)),
        fmt::format("vmrig qmp {} query-balloon", parts_.state.name));
  }
  parts_.log(fmt::format("balloon: the guest has {}", to_string(size)));
}

asio::awaitable<Json> Hotplug::balloon() {
  const qmp::Deadline deadline = qmp::deadline_in(kLookTimeout);
  QmpCommand look{"query-balloon", Json::object()};
  const Json size = co_await execute(std::move(look), deadline);
  QmpCommand ask{"qom-get", Json{{"path", fmt::format("{}/{}", kPeripherals, kBalloonId)},
                                 {"property", "guest-stats"}}};
  const Json told = co_await execute(std::move(ask), deadline);
  Json answer = {{"actual", size.at("actual")}, {"stats", Json::object()}};
  const std::int64_t told_at = told.value("last-update", std::int64_t{0});
  if (told_at == 0) co_return answer;
  answer["age_s"] = std::max<std::int64_t>(0, seconds_since_epoch() - told_at);
  const Json& stats = told.at("stats");
  for (const auto& [name, value] : stats.items()) {
    constexpr std::string_view kPrefix = "stat-";
    if (!value.is_number_integer() || value == kNotTold || value == -1) continue;
    answer["stats"][name.starts_with(kPrefix) ? name.substr(kPrefix.size()) : name] = value;
  }
  co_return answer;
}

}  // namespace vmrig
