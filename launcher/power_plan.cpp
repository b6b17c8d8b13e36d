#include "launcher/power_plan.hpp"

#include <fmt/format.h>

#include "devices/panic.hpp"
#include "launcher/preflight.hpp"

namespace vmrig {

std::vector<QemuArgument> power_arguments(const VmConfig& config, const qmp::QemuCaps& caps) {
  const PowerConfig& power = config.power;
  const bool keeps_off = power.on_poweroff == OnEnd::kPreserve;
  const bool keeps_crashed = power.on_crash == OnEnd::kPreserve;
  std::vector<QemuArgument> arguments;
  const auto add = [&arguments](std::vector<std::string> words, std::string origin) {
    arguments.push_back({std::move(words), std::move(origin)});
  };
  if (caps.action_option) {
    if (keeps_off) add({"-action", "shutdown=pause"}, "power.on_poweroff");
    if (keeps_crashed) add({"-action", "panic=pause"}, "power.on_crash");
    if (power.on_reboot == OnReboot::kDestroy) {
      add({"-action", "reboot=shutdown"}, "power.on_reboot");
    }
  } else {
    if (keeps_off || keeps_crashed) {
      add({"-no-shutdown"}, keeps_off ? "power.on_poweroff" : "power.on_crash");
    }
    if (power.on_reboot == OnReboot::kDestroy) add({"-no-reboot"}, "power.on_reboot");
  }
  if (!config.watchdog) return arguments;
  add({"-watchdog-action", std::string(name_of(config.watchdog->action))}, "watchdog.action");
  if (config.watchdog->model == WatchdogModel::kItco) {
    // A strap of the chipset keeps the expiry to itself otherwise. Source: qemu hw/acpi/ich9_tco.c.
    add({"-global", "ICH9-LPC.noreboot=off"}, "watchdog.model");
  }
  return arguments;
}

bool has_panic_device(const VmConfig& config, const qmp::QemuCaps& caps) {
  return config.power.pvpanic.value_or(true) && caps.has_device(kPanicDriver);
}

void check_power(const VmConfig& config, const qmp::QemuCaps& caps,
                 std::vector<Diagnostic>& findings) {
  const auto lacks = [&findings](std::string path, std::string_view device, std::string mend) {
    findings.push_back(finding(Severity::kProblem, std::move(path),
                               fmt::format("this QEMU has no device \"{}\"", device),
                               std::move(mend)));
  };
  if (config.power.pvpanic == true && !caps.has_device(kPanicDriver)) {
    lacks("power.pvpanic", kPanicDriver, R"("pvpanic": false)");
  }
  if (config.watchdog && config.watchdog->model != WatchdogModel::kItco) {
    const std::string_view driver = name_of(config.watchdog->model);
    if (!caps.has_device(driver)) lacks("watchdog.model", driver, R"("watchdog": null)");
  }
}

bool may_stand_still(const PowerConfig& power, Standstill what, std::string_view reason) {
  if (what == Standstill::kPanic) return power.on_crash == OnEnd::kPreserve;
  return power.on_poweroff == OnEnd::kPreserve && reason == "guest-shutdown";
}

}  // namespace vmrig
