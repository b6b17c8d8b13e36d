#include "hostcfg/pci_driver.hpp"

#include <fmt/format.h>

#include <system_error>
#include <utility>

#include "hostcfg/base/error.hpp"
#include "hostcfg/checkpoint.hpp"
#include "hostcfg/host_refusal.hpp"

namespace vmrig {
namespace {

std::string device_folder(const PciAddress& device) {
  return "sys/bus/pci/devices/" + device.to_string();
}

DriverState require_state(const Sysfs& sysfs, const PciAddress& device,
                          const std::string& operation) {
  if (auto state = read_driver_state(sysfs, device)) return *std::move(state);
  throw host_refusal(operation, device.to_string(), "there is no such PCI device");
}

// One attribute's write; a failure says which attribute and the kernel's reason.
void write(const Sysfs& sysfs, const PciAddress& device, const std::string& operation,
           const std::string& file, const std::string& text) {
  try {
    sysfs.write(file, text);
  } catch (const std::system_error& fault) {
    const std::string mend =
        fault.code() == std::errc::permission_denied ? "run vmrig as root" : "";
    throw host_refusal(
        operation, device.to_string(),
        fmt::format("{}: {}", file.substr(file.rfind('/') + 1), fault.code().message()), mend);
  }
}

void set_override(const Sysfs& sysfs, const PciAddress& device, const std::string& operation,
                  const std::string& driver) {
  checkpoint("before driver_override");
  // A newline alone clears it. Source: linux drivers/base/driver.c driver_set_override.
  write(sysfs, device, operation, device_folder(device) + "/driver_override", driver + "\n");
  checkpoint("after driver_override");
  const std::string now = require_state(sysfs, device, operation).driver_override;
  if (now != driver) {
    throw host_refusal(
        operation, device.to_string(),
        fmt::format("its driver_override is {} after {} was written", quote(now), quote(driver)));
  }
}

bool is_on(const Sysfs& sysfs, const PciAddress& device, const std::string& driver) {
  const auto state = read_driver_state(sysfs, device);
  return state && state->driver == driver;
}

void unbind(const Sysfs& sysfs, const PciAddress& device, const std::string& operation,
            const std::string& driver) {
  checkpoint("before unbind");
  try {
    write(sysfs, device, operation, "sys/bus/pci/drivers/" + driver + "/unbind",
          device.to_string());
  } catch (const Error&) {
    // ENODEV: the driver let go of it by itself meanwhile, which is what was wanted.
    if (!is_on(sysfs, device, std::string())) throw;
  }
  checkpoint("after unbind");
  if (!sysfs.wait_until([&] { return !is_on(sysfs, device, driver); })) {
    throw host_refusal(operation, device.to_string(),
                       fmt::format("driver {} does not let go of it", driver));
  }
}

// drivers_probe reports success also when no driver took the device, or when the driver's probe
// failed; only the link to the driver tells.
void probe(const Sysfs& sysfs, const PciAddress& device, const std::string& operation) {
  checkpoint("before probe");
  write(sysfs, device, operation, "sys/bus/pci/drivers_probe", device.to_string());
  checkpoint("after probe");
}

bool bind_directly(const Sysfs& sysfs, const PciAddress& device, const std::string& driver) {
  checkpoint("before bind");
  try {
    sysfs.write("sys/bus/pci/drivers/" + driver + "/bind", device.to_string());
  } catch (const std::system_error&) {
    return is_on(sysfs, device, driver);
  }
  checkpoint("after bind");
  return sysfs.wait_until([&] { return is_on(sysfs, device, driver); });
}

}  // namespace

std::optional<DriverState> read_driver_state(const Sysfs& sysfs, const PciAddress& device) {
  const std::string folder = device_folder(device);
  if (!sysfs.exists(folder)) return std::nullopt;
  DriverState state;
  state.driver = sysfs.link_name(folder + "/driver").value_or(std::string{});
  state.driver_override = sysfs.read(folder + "/driver_override").value_or(std::string{});
  if (state.driver_override == "(null)") state.driver_override.clear();
  return state;
}

void bind_pci_driver(const Sysfs& sysfs, const PciAddress& device, const std::string& driver) {
  const std::string operation = fmt::format("bind to {} the device", driver);
  const DriverState now = require_state(sysfs, device, operation);
  if (!sysfs.exists("sys/bus/pci/drivers/" + driver)) {
    throw host_refusal(operation, device.to_string(),
                       fmt::format("the kernel has no driver {}", driver), "modprobe " + driver);
  }
  if (now == DriverState{driver, driver}) return;
  // The override first: in the moment without a driver, no other can take the device.
  if (now.driver_override != driver) set_override(sysfs, device, operation, driver);
  if (now.driver == driver) return;
  if (!now.driver.empty()) unbind(sysfs, device, operation, now.driver);
  probe(sysfs, device, operation);
  if (is_on(sysfs, device, driver)) return;
  // A probe that fails leaves nothing to wait for; the driver's own bind tells the reason.
  write(sysfs, device, operation, "sys/bus/pci/drivers/" + driver + "/bind", device.to_string());
  if (!sysfs.wait_until([&] { return is_on(sysfs, device, driver); })) {
    const std::string other = require_state(sysfs, device, operation).driver;
    throw host_refusal(
        operation, device.to_string(),
        other.empty() ? "the driver did not take it" : "driver " + other + " took it",
        "dmesg says more");
  }
}

void unbind_pci_driver(const Sysfs& sysfs, const PciAddress& device) {
  const DriverState now = require_state(sysfs, device, "unbind the device");
  if (now.driver.empty()) return;
  unbind(sysfs, device, fmt::format("unbind from {} the device", now.driver), now.driver);
}

void restore_pci_driver(const Sysfs& sysfs, const PciAddress& device, const DriverState& old) {
  const std::string operation = old.driver.empty()
                                    ? "free the device"
                                    : fmt::format("give back to {} the device", old.driver);
  const DriverState now = require_state(sysfs, device, operation);
  if (!now.driver.empty() && now.driver != old.driver) {
    unbind(sysfs, device, operation, now.driver);
  }
  if (now.driver_override != old.driver_override) {
    set_override(sysfs, device, operation, old.driver_override);
  }
  if (old.driver.empty() || is_on(sysfs, device, old.driver)) return;
  if (!sysfs.exists("sys/bus/pci/drivers/" + old.driver)) {
    throw host_refusal(operation, device.to_string(),
                       fmt::format("the kernel has no driver {}", old.driver),
                       "modprobe " + old.driver);
  }
  if (bind_directly(sysfs, device, old.driver)) return;
  // A driver that had it only by an override (or a VF whose PF has drivers_autoprobe off) takes
  // it no other way. Source: linux drivers/pci/pci-driver.c pci_device_can_probe.
  set_override(sysfs, device, operation, old.driver);
  probe(sysfs, device, operation);
  set_override(sysfs, device, operation, old.driver_override);
  if (!is_on(sysfs, device, old.driver)) {
    throw host_refusal(operation, device.to_string(),
                       fmt::format("driver {} does not take it", old.driver), "dmesg says more");
  }
}

}  // namespace vmrig
