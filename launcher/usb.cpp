#include "launcher/usb.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "launcher/preflight.hpp"

namespace vmrig {
namespace {

bool contains(const std::vector<std::string>& list, const std::string& item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

const Lease* holder_of(const std::string& place, const std::vector<Lease>& leases) {
  const auto found = std::find_if(leases.begin(), leases.end(),
                                  [&](const Lease& lease) { return contains(lease.usb, place); });
  return found == leases.end() ? nullptr : &*found;
}

bool is_meant(const UsbConfig& usb, const UsbDeviceFacts& device) {
  const std::optional<UsbIds> ids = usb_ids(usb);
  if (ids && *ids != UsbIds{device.vendor, device.product}) return false;
  if (usb.bus && usb.address) return *usb.bus == device.bus && *usb.address == device.address;
  return ids.has_value();
}

std::string text_of(const UsbConfig& usb) {
  std::string text;
  if (const std::optional<UsbIds> ids = usb_ids(usb)) {
    text = fmt::format(" {:04x}:{:04x}", ids->vendor, ids->product);
  }
  if (usb.bus && usb.address) text += fmt::format(" on bus {}, address {}", *usb.bus, *usb.address);
  return "USB device" + text;
}

void choose_one(const PlanInput& input, UsbConfig& usb, const std::string& where,
                std::vector<std::string>& claimed, std::vector<Diagnostic>& findings) {
  std::vector<const UsbDeviceFacts*> meant;
  for (const UsbDeviceFacts& device : input.facts.usb) {
    if (is_meant(usb, device)) meant.push_back(&device);
  }
  if (meant.empty()) {
    findings.push_back(finding(
        Severity::kProblem, where,
        fmt::format("this host has no {} (hubs can't be given away)", text_of(usb)), "lsusb"));
    return;
  }
  const Lease* holder = nullptr;
  for (const UsbDeviceFacts* device : meant) {
    const std::string place = usb_place(*device);
    if (const Lease* lease = holder_of(place, input.leases)) {
      holder = lease;
      continue;
    }
    if (contains(claimed, place)) continue;
    if (!device->node.opens) {
      findings.push_back(finding(
          Severity::kProblem, where,
          fmt::format("/dev/bus/usb/{:03}/{:03} can't be opened: {}", device->bus, device->address,
                      device->node.error.empty() ? "no such node" : device->node.error),
          "run as root, or give the device to your group by a udev rule"));
      return;
    }
    claimed.push_back(place);
    // With one of its make, QEMU finds it again after it was plugged in elsewhere.
    if (meant.size() > 1) {
      usb.bus = device->bus;
      usb.address = device->address;
    }
    findings.push_back(
        finding(Severity::kOk, where,
                fmt::format("{} is there{}", text_of(usb),
                            device->name.empty() ? "" : ": " + quote(device->name))));
    return;
  }
  if (holder == nullptr) {
    findings.push_back(finding(Severity::kProblem, where,
                               fmt::format("the {} is this VM's already", text_of(usb)), "lsusb",
                               ExitStatus::kUsage));
    return;
  }
  findings.push_back(finding(Severity::kProblem, where,
                             fmt::format("the {} is held by VM \"{}\"", text_of(usb), holder->vm),
                             fmt::format("vmrig stop {}", holder->vm), ExitStatus::kBusy));
}

}  // namespace

std::string usb_place(const UsbDeviceFacts& device) {
  return fmt::format("{}.{}", device.bus, device.address);
}

std::vector<UsbConfig> choose_usb(const PlanInput& input, std::vector<std::string>& claimed,
                                  std::vector<Diagnostic>& findings) {
  std::vector<UsbConfig> list = input.config.usb;
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (list[i].type != UsbType::kHost) continue;
    const std::string where = fmt::format("usb[{}]", i);
    if (!input.caps.devices.empty() && !input.caps.has_device("usb-host")) {
      findings.push_back(finding(Severity::kProblem, where, "this QEMU can't use the host's USB",
                                 "a QEMU with libusb (usb-host)"));
      continue;
    }
    choose_one(input, list[i], where, claimed, findings);
  }
  return list;
}

}  // namespace vmrig
