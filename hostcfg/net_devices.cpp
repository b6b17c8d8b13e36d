#include "hostcfg/net_devices.hpp"

#include <fmt/format.h>
#include <linux/if_arp.h>
#include <linux/if_tun.h>

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "hostcfg/device_use.hpp"
#include "hostcfg/pci_devices.hpp"

namespace vmrig {
namespace {

unsigned flags_in(const FolderReader& folder, const char* name) {
  const std::string text = folder.attribute(name).value_or(std::string{});
  std::string_view digits = trimmed(text);
  if (digits.substr(0, 2) == "0x") digits.remove_prefix(2);
  return parse_number<unsigned>(digits, 16).value_or(0);
}

std::string device_type(const FolderReader& folder) {
  constexpr std::string_view kKey = "DEVTYPE=";
  const std::string content = folder.attribute("uevent").value_or(std::string{});
  std::string_view text = content;
  while (!text.empty()) {
    const std::string_view line = take_line(text);
    if (line.substr(0, kKey.size()) == kKey) return std::string(line.substr(kKey.size()));
  }
  return {};
}

std::string kind_of(const FolderReader& folder, std::string_view sysfs_path, int index) {
  if (folder.number<int>("type") == ARPHRD_LOOPBACK) return "loopback";
  const std::string type = device_type(folder);
  if (type == "bridge") return "bridge";
  if (type == "wlan") return "wireless";
  if (sysfs_path.find("/virtual/") == std::string_view::npos && folder.exists("device")) {
    return "physical";
  }
  if (folder.exists("tun_flags")) {
    return (flags_in(folder, "tun_flags") & IFF_TAP) != 0 ? "tap" : "virtual";
  }
  // The character device /dev/tapN of a macvtap is a child; in a folder of its own since 4.9.
  const bool macvtap =
      folder.exists("macvtap") || folder.exists(fmt::format("tap{}", index).c_str());
  return macvtap ? "macvtap" : "virtual";
}

std::optional<NetDeviceFacts> read_device(const FolderReader& net, const std::string& name) {
  const auto folder = net.folder(name.c_str());
  // Bonding puts a plain file "bonding_masters" among the devices.
  if (!folder) return std::nullopt;
  NetDeviceFacts device;
  device.name = name;
  device.index = folder->number<int>("ifindex").value_or(0);
  if (device.index < 1) return std::nullopt;  // gone meanwhile
  device.mac = folder->attribute("address").value_or(std::string{});
  device.mtu = std::max(folder->number<int>("mtu").value_or(0), 0);
  device.up = (flags_in(*folder, "flags") & IFF_UP) != 0;
  // Reading it is EINVAL while the device is down.
  device.carrier = device.up && folder->number<int>("carrier") == 1;
  const std::string path = net.link(name.c_str()).value_or(std::string{});
  device.kind = kind_of(*folder, path, device.index);
  if (device.kind == "physical" || device.kind == "wireless") {
    device.pci = pci_address_in(path);
    if (!device.pci) device.pci = pci_address_in(folder->link("device").value_or(std::string{}));
  }
  const std::string master = folder->link("master").value_or(std::string{});
  device.master = master.substr(master.rfind('/') + 1);  // npos + 1 is 0
  device.uppers = upper_devices(*folder);
  return device;
}

}  // namespace

std::vector<NetDeviceFacts> read_net_devices(const FolderReader& root,
                                             std::vector<PciDeviceFacts>& pci) {
  std::vector<NetDeviceFacts> devices;
  const auto net = root.folder("sys/class/net");
  if (!net) return devices;
  for (const std::string& name : net->names(".")) {
    if (auto device = read_device(*net, name)) devices.push_back(std::move(*device));
  }
  std::sort(devices.begin(), devices.end(),
            [](const NetDeviceFacts& a, const NetDeviceFacts& b) { return a.index < b.index; });
  for (NetDeviceFacts& device : devices) {
    PciDeviceFacts* function = device.pci ? find_pci_device(pci, *device.pci) : nullptr;
    if (function == nullptr) continue;
    device.numa_node = function->numa_node;
    function->net_devices.push_back(device.name);
  }
  return devices;
}

}  // namespace vmrig
