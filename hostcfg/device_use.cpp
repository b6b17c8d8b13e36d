#include "hostcfg/device_use.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <optional>
#include <set>
#include <string_view>

#include "hostcfg/block_use.hpp"
#include "hostcfg/pci_devices.hpp"

namespace vmrig {
namespace {

constexpr std::size_t kMaxTable = std::size_t{16} << 20;
constexpr std::size_t kMaxShown = 4;  // of many macvlans or addresses

std::string joined(const std::vector<std::string>& texts) {
  if (texts.size() <= kMaxShown) return fmt::format("{}", fmt::join(texts, ", "));
  return fmt::format("{} and {} more", fmt::join(texts.begin(), texts.begin() + kMaxShown, ", "),
                     texts.size() - kMaxShown);
}

bool is_up(const FolderReader& net) {
  const std::string text = net.attribute("flags").value_or(std::string{});
  std::string_view digits = trimmed(text);
  if (digits.substr(0, 2) == "0x") digits.remove_prefix(2);
  return (parse_number<unsigned>(digits, 16).value_or(0) & IFF_UP) != 0;
}

struct Routes {
  bool any = false;
  bool is_default = false;
};

// Source: linux net/ipv4/fib_trie.c fib_route_seq_show: device, destination, …, mask (8th).
void read_ipv4_routes(const FolderReader& root, const std::string& name, Routes& routes) {
  const std::string table = root.text("proc/net/route", kMaxTable).value_or(std::string{});
  std::string_view text = table;
  while (!text.empty()) {
    std::string_view line = take_line(text);
    if (take_word(line) != name) continue;
    const std::string destination(take_word(line));
    std::string_view word;
    for (int field = 2; field < 8; ++field) word = take_word(line);
    routes.any = true;
    routes.is_default |= destination == "00000000" && word == "00000000";
  }
}

// Source: linux net/ipv6/route.c: destination, its prefix length, …, the device last. Link-local
// and multicast routes come with each device that is up, and so do those through "lo".
void read_ipv6_routes(const FolderReader& root, const std::string& name, Routes& routes) {
  const std::string table = root.text("proc/net/ipv6_route", kMaxTable).value_or(std::string{});
  std::string_view text = table;
  while (!text.empty()) {
    std::string_view line = take_line(text);
    const std::string_view destination = take_word(line);
    const std::string_view length = take_word(line);
    std::string_view device;
    while (!line.empty()) device = take_word(line);
    if (device != name || destination.size() != 32) continue;
    if (destination.starts_with("fe80") || destination.starts_with("ff")) continue;
    routes.any = true;
    routes.is_default |= length == "00";
  }
}

void find_net_uses(const FolderReader& root, const FolderReader& folder, const std::string& name,
                   const NetAddresses& addresses, std::vector<std::string>& uses) {
  const auto net = folder.folder(("net/" + name).c_str());
  if (!net || !is_up(*net)) return;
  const auto found = addresses.find(name);
  if (found != addresses.end() && !found->second.empty()) {
    uses.push_back(fmt::format("{} is up with {}", name, joined(found->second)));
  }
  Routes routes;
  read_ipv4_routes(root, name, routes);
  read_ipv6_routes(root, name, routes);
  if (routes.is_default) {
    uses.push_back(name + " has the default route");
  } else if (routes.any) {
    uses.push_back(name + " has routes");
  }
  std::string master = net->link("master").value_or(std::string{});
  master.erase(0, master.rfind('/') + 1);  // npos + 1 is 0
  if (!master.empty()) uses.push_back(fmt::format("{} is a port of {}", name, master));
  std::vector<std::string> uppers = upper_devices(*net);
  uppers.erase(std::remove(uppers.begin(), uppers.end(), master), uppers.end());
  if (!uppers.empty()) uses.push_back(fmt::format("{} carries {}", name, joined(uppers)));
}

}  // namespace

NetAddresses read_net_addresses() {
  NetAddresses addresses;
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) < 0) return addresses;
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> owner(list, ::freeifaddrs);
  for (const ifaddrs* one = list; one != nullptr; one = one->ifa_next) {
    if (one->ifa_addr == nullptr) continue;
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (one->ifa_addr->sa_family == AF_INET) {
      const auto* address = reinterpret_cast<const sockaddr_in*>(one->ifa_addr);
      ::inet_ntop(AF_INET, &address->sin_addr, text.data(), text.size());
    } else if (one->ifa_addr->sa_family == AF_INET6) {
      const auto* address = reinterpret_cast<const sockaddr_in6*>(one->ifa_addr);
      if (IN6_IS_ADDR_LINKLOCAL(&address->sin6_addr)) continue;
      ::inet_ntop(AF_INET6, &address->sin6_addr, text.data(), text.size());
    } else {
      continue;
    }
    addresses[one->ifa_name].emplace_back(text.data());
  }
  return addresses;
}

std::vector<std::string> upper_devices(const FolderReader& net_device) {
  constexpr std::string_view kPrefix = "upper_";
  std::vector<std::string> uppers;
  for (const std::string& name : net_device.names(".")) {
    if (name.starts_with(kPrefix)) uppers.push_back(name.substr(kPrefix.size()));
  }
  std::sort(uppers.begin(), uppers.end());
  return uppers;
}

std::vector<std::string> find_uses(const FolderReader& root, const PciAddress& device,
                                   const NetAddresses& addresses, const BlockUses& blocks) {
  std::vector<std::string> uses;
  const std::string path = "sys/bus/pci/devices/" + device.to_string();
  const auto folder = root.folder(path.c_str());
  if (!folder) return uses;
  std::vector<std::string> names = folder->names("net");
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) find_net_uses(root, *folder, name, addresses, uses);
  const auto block = blocks.find(device);
  if (block != blocks.end()) uses.insert(uses.end(), block->second.begin(), block->second.end());
  if (folder->attribute("boot_vga") == "1") uses.emplace_back("the host's console is on it");
  const int vfs = folder->number<int>("sriov_numvfs").value_or(0);
  if (vfs > 0) uses.push_back(fmt::format("{} VFs are made of it", vfs));
  return uses;
}

}  // namespace vmrig
