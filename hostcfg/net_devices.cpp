#include "hostcfg/net_devices.hpp"

#include <fmt/format.h>
#include <linux/if_arp.h>
#include <linux/if_tun.h>

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "hostcfg/base/error.hpp"
#include "hostcfg/device_use.hpp"
#include "hostcfg/link.hpp"
#include "hostcfg/net_address.hpp"
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

// Source: linux drivers/net/tun.c tun_dev_attrs.
void read_tap(const FolderReader& folder, NetDeviceFacts& device) {
  const unsigned flags = flags_in(folder, "tun_flags");
  device.multi_queue = (flags & IFF_MULTI_QUEUE) != 0;
  device.vnet_hdr = (flags & IFF_VNET_HDR) != 0;
  const int owner = folder.number<int>("owner").value_or(-1);  // -1: anybody's with CAP_NET_ADMIN
  if (owner >= 0) device.owner_uid = static_cast<unsigned>(owner);
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
  device.vlan_filtering = folder->number<int>("bridge/vlan_filtering") == 1;
  device.made_by_vmrig =
      folder->attribute("ifalias").value_or(std::string{}).starts_with(kMadeByVmrig);
  if (device.kind == "tap") read_tap(*folder, device);
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

NetLinks read_net_links() {
  try {
    NetlinkSocket socket;
    return {read_links(socket), read_addresses(socket)};
  } catch (const Error&) {
    return {};  // a sandbox without netlink does not tell
  }
}

void add_net_links(const NetLinks& links, std::vector<NetDeviceFacts>& devices) {
  for (NetDeviceFacts& device : devices) {
    const auto link =
        std::find_if(links.links.begin(), links.links.end(), [&device](const LinkState& one) {
          return one.index == device.index && one.name == device.name;
        });
    // sysfs shows the namespace of whoever mounted it, which may be another than netlink's.
    if (link == links.links.end()) continue;
    device.link_kind = link->kind;
    device.lower = link->lower;
    device.mode = link->mode;
    device.vlan_id = link->vlan_id;
    device.max_mtu = link->max_mtu;
    const auto addresses = links.addresses.find(device.index);
    if (addresses != links.addresses.end()) device.addresses = addresses->second;
  }
}

}  // namespace vmrig
