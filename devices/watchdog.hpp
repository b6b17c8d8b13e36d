// A watchdog: what the machine does when its guest has hung.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "devices/description.hpp"
#include "hostcfg/base/shape.hpp"

namespace vmrig {

// i6300esb is a PCI card, ib700 an ISA one; itco is in q35's chipset.
enum class WatchdogModel { kI6300esb, kIb700, kItco };
// What QEMU does when the guest has not fed it in time. Source: qemu qapi/run-state.json,
// WatchdogAction.
enum class WatchdogAction { kReset, kShutdown, kPoweroff, kPause, kInjectNmi, kNone };

std::vector<std::string_view> enum_names(WatchdogModel);
std::vector<std::string_view> enum_names(WatchdogAction);  // QEMU's own

struct WatchdogConfig {
  WatchdogModel model = WatchdogModel::kI6300esb;
  WatchdogAction action = WatchdogAction::kReset;
};

void describe(Fields& fields, WatchdogConfig& watchdog);

// nullopt for one that the machine has by itself.
std::optional<DeviceDescription> describe_watchdog(const WatchdogConfig& watchdog);

}  // namespace vmrig
