#include "devices/watchdog.hpp"

namespace vmrig {

std::vector<std::string_view> enum_names(WatchdogModel) { return {"i6300esb", "ib700", "itco"}; }

std::vector<std::string_view> enum_names(WatchdogAction) {
  return {"reset", "shutdown", "poweroff", "pause", "inject-nmi", "none"};
}

void describe(Fields& fields, WatchdogConfig& watchdog) {
  fields.optional("model", "The card; itco is the one in q35's chipset.", watchdog.model);
  fields.optional("action",
                  "What follows when the guest does not feed it in time; after poweroff the VM has "
                  "crashed.",
                  watchdog.action);
}

std::optional<DeviceDescription> describe_watchdog(const WatchdogConfig& watchdog) {
  if (watchdog.model == WatchdogModel::kItco) return std::nullopt;
  const FrontEnd::Bus bus =
      watchdog.model == WatchdogModel::kI6300esb ? FrontEnd::Bus::kPci : FrontEnd::Bus::kOther;
  return DeviceDescription{
      .id = "vmrig-watchdog0",
      .origin = "watchdog",
      .controller = {},
      .backends = {},
      .front_ends = {{bus, {{"driver", name_of(watchdog.model)}, {"id", "vmrig-watchdog0"}}}}};
}

}  // namespace vmrig
