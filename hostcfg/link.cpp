#include "hostcfg/link.hpp"

#include <fmt/format.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <map>
#include <system_error>
#include <utility>

#include "hostcfg/checkpoint.hpp"

namespace vmrig {
namespace {

constexpr std::array<std::pair<std::uint32_t, const char*>, 4> kMacvlanModes = {
    {{MACVLAN_MODE_PRIVATE, "private"},
     {MACVLAN_MODE_VEPA, "vepa"},
     {MACVLAN_MODE_BRIDGE, "bridge"},
     {MACVLAN_MODE_PASSTHRU, "passthru"}}};

ifinfomsg link_header(int index, unsigned flags = 0) {
  ifinfomsg header{};
  header.ifi_family = AF_UNSPEC;
  header.ifi_index = index;
  header.ifi_flags = flags;
  header.ifi_change = flags;
  return header;
}

std::string mac_text(nlattr* attribute) {
  const auto mac = attribute_value<MacAddress>(attribute);
  return mac ? fmt::format("{:02x}", fmt::join(*mac, ":")) : std::string();
}

void parse_kind(nlattr* info, LinkState& link) {
  std::array<nlattr*, IFLA_INFO_MAX + 1> parts{};
  if (info == nullptr || nla_parse_nested(parts.data(), IFLA_INFO_MAX, info, nullptr) < 0) return;
  link.kind = attribute_text(parts[IFLA_INFO_KIND]);
  nlattr* data = parts[IFLA_INFO_DATA];
  if (data == nullptr) return;
  const auto part = [data](int type) {
    return nla_find(static_cast<nlattr*>(nla_data(data)), nla_len(data), type);
  };
  if (link.kind == "vlan") {
    link.vlan_id = attribute_value<std::uint16_t>(part(IFLA_VLAN_ID)).value_or(0);
  } else if (link.kind == "bridge") {
    link.vlan_filtering = attribute_value<std::uint8_t>(part(IFLA_BR_VLAN_FILTERING)) == 1;
  } else if (link.kind == "macvlan" || link.kind == "macvtap") {
    const auto mode = attribute_value<std::uint32_t>(part(IFLA_MACVLAN_MODE));
    for (const auto& [number, name] : kMacvlanModes) {
      if (mode == number) link.mode = name;
    }
  }
}

struct ParsedLink {
  LinkState state;
  int master = 0;
  int lower = 0;
};

std::optional<ParsedLink> parse_link(nlmsghdr* message) {
  if (message->nlmsg_type != RTM_NEWLINK) return std::nullopt;
  std::array<nlattr*, IFLA_MAX + 1> parts{};
  if (nlmsg_parse(message, sizeof(ifinfomsg), parts.data(), IFLA_MAX, nullptr) < 0) {
    return std::nullopt;
  }
  const auto* header = static_cast<const ifinfomsg*>(nlmsg_data(message));
  ParsedLink parsed;
  parsed.state.index = header->ifi_index;
  parsed.state.up = (header->ifi_flags & IFF_UP) != 0;
  parsed.state.name = attribute_text(parts[IFLA_IFNAME]);
  parsed.state.alias = attribute_text(parts[IFLA_IFALIAS]);
  parsed.state.mac = mac_text(parts[IFLA_ADDRESS]);
  parsed.state.mtu = static_cast<int>(attribute_value<std::uint32_t>(parts[IFLA_MTU]).value_or(0));
  const std::uint32_t max = attribute_value<std::uint32_t>(parts[IFLA_MAX_MTU]).value_or(0);
  parsed.state.max_mtu = static_cast<int>(std::min<std::uint32_t>(max, 0x7fffffff));
  parse_kind(parts[IFLA_LINKINFO], parsed.state);
  parsed.master = static_cast<int>(attribute_value<std::uint32_t>(parts[IFLA_MASTER]).value_or(0));
  // An index of another namespace says nothing here, and a veth's is its peer's.
  if (parts[IFLA_LINK_NETNSID] == nullptr && parsed.state.kind != "veth") {
    parsed.lower = static_cast<int>(attribute_value<std::uint32_t>(parts[IFLA_LINK]).value_or(0));
  }
  return parsed;
}

std::string name_of(NetlinkSocket& socket, int index) {
  if (index <= 0) return {};
  NetlinkRequest request(RTM_GETLINK, 0, link_header(index));
  std::string name;
  socket.request(request.get(), [&name](nlmsghdr* message) {
    if (const auto parsed = parse_link(message)) name = parsed->state.name;
  });
  return name;
}

}  // namespace

Error net_refused(std::string operation, std::string object, const NetlinkAnswer& answer) {
  std::string cause = std::generic_category().message(answer.error);
  if (!answer.message.empty()) cause += " (" + answer.message + ")";
  std::string mend;
  if (answer.error == EPERM) mend = "run vmrig as root";
  if (answer.error == ENETDOWN) mend = "take the device that it is on up: ip link set NAME up";
  return Error({.status = ExitStatus::kHost,
                .operation = std::move(operation),
                .object = std::move(object),
                .cause = std::move(cause),
                .mend = std::move(mend)});
}

MacAddress parse_mac(const std::string& text) {
  MacAddress octets{};
  constexpr std::size_t kLength = 17;
  bool good = text.size() == kLength;
  for (std::size_t i = 0; good && i < octets.size(); ++i) {
    const char* digits = text.data() + i * 3;
    const auto [rest, fault] = std::from_chars(digits, digits + 2, octets.at(i), 16);
    good = fault == std::errc{} && rest == digits + 2 && (i + 1 == octets.size() || *rest == ':');
  }
  if (!good) {
    throw Error({.status = ExitStatus::kUsage,
                 .operation = "read the MAC address",
                 .object = text,
                 .cause = "it is none",
                 .mend = "write it as 52:54:00:2d:87:99"});
  }
  return octets;
}

MacAddress random_mac(std::uint8_t first) {
  MacAddress mac{};
  if (::getrandom(mac.data(), mac.size(), 0) != static_cast<ssize_t>(mac.size())) {
    throw system_error("choose", "a MAC address", errno);
  }
  mac[0] = first;
  return mac;
}

bool is_unfinished(const LinkState& link, const std::string& kind) {
  return link.kind == kind && link.alias.empty() && !link.up;
}

std::vector<LinkState> read_links(NetlinkSocket& socket) {
  NetlinkRequest request(RTM_GETLINK, NLM_F_DUMP, link_header(0));
  std::vector<ParsedLink> parsed;
  const NetlinkAnswer answer = socket.request(request.get(), [&parsed](nlmsghdr* message) {
    if (auto link = parse_link(message)) parsed.push_back(*std::move(link));
  });
  if (answer.error != 0) throw net_refused("read the network devices", {}, answer);
  std::map<int, std::string> names;
  for (const ParsedLink& link : parsed) names[link.state.index] = link.state.name;
  std::vector<LinkState> links;
  for (ParsedLink& link : parsed) {
    if (link.master > 0) link.state.master = names[link.master];
    if (link.lower > 0) link.state.lower = names[link.lower];
    links.push_back(std::move(link.state));
  }
  return links;
}

std::optional<LinkState> read_link(NetlinkSocket& socket, const std::string& name) {
  NetlinkRequest request(RTM_GETLINK, 0, link_header(0));
  request.put(IFLA_IFNAME, name);
  std::optional<ParsedLink> parsed;
  const NetlinkAnswer answer = socket.request(request.get(), [&parsed](nlmsghdr* message) {
    if (auto link = parse_link(message)) parsed = std::move(link);
  });
  if (answer.error == ENODEV) return std::nullopt;
  if (answer.error != 0) throw net_refused("read the network device", name, answer);
  if (!parsed || parsed->state.name != name) return std::nullopt;
  parsed->state.master = name_of(socket, parsed->master);
  parsed->state.lower = name_of(socket, parsed->lower);
  return std::move(parsed->state);
}

LinkState require_link(NetlinkSocket& socket, const char* operation, const std::string& name) {
  std::optional<LinkState> link = read_link(socket, name);
  if (link) return *std::move(link);
  throw Error({.status = ExitStatus::kHost,
               .operation = operation,
               .object = name,
               .cause = "there is no such network device",
               .mend = "ip link"});
}

LinkMaker::LinkMaker(NetlinkSocket& socket, const NewLink& link)
    : socket_(socket), operation_(link.operation) {
  NetlinkRequest request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, link_header(0));
  request.put(IFLA_IFNAME, link.name);
  if (link.parent > 0) request.put(IFLA_LINK, static_cast<std::uint32_t>(link.parent));
  if (link.mac) request.put(IFLA_ADDRESS, *link.mac);
  if (link.mtu) request.put(IFLA_MTU, static_cast<std::uint32_t>(*link.mtu));
  nlattr* info = request.begin(IFLA_LINKINFO);
  request.put(IFLA_INFO_KIND, std::string(link.kind));
  if (link.data) {
    nlattr* data = request.begin(IFLA_INFO_DATA);
    link.data(request);
    request.end(data);
  }
  request.end(info);
  checkpoint("before link");
  const NetlinkAnswer answer = socket_.request(request.get());
  checkpoint("after link");
  if (answer.error == EOPNOTSUPP) {
    throw Error({.status = ExitStatus::kHost,
                 .operation = operation_,
                 .object = link.name,
                 .cause = fmt::format("this kernel has no {}", link.what),
                 .mend = fmt::format("modprobe {}", link.module)});
  }
  if (answer.error != 0) throw net_refused(operation_, link.name, answer);
  link_ = require_link(socket_, operation_, link.name);
}

LinkMaker::~LinkMaker() {
  if (kept_) return;
  try {
    remove_link(socket_, link_);
  } catch (const std::exception&) {
    // The journal has it, and its undoing says what is left.
  }
}

void LinkMaker::finish(const std::string& mark) {
  LinkChange change;
  change.alias = mark;
  change.take_up = true;
  change_link(socket_, operation_, link_, change);
  kept_ = true;
}

void change_link(NetlinkSocket& socket, const char* operation, const LinkState& link,
                 const LinkChange& change) {
  NetlinkRequest request(RTM_SETLINK, 0, link_header(link.index, change.take_up ? IFF_UP : 0));
  if (change.mac) request.put(IFLA_ADDRESS, *change.mac);
  if (change.mtu) request.put(IFLA_MTU, static_cast<std::uint32_t>(*change.mtu));
  if (change.txqueuelen) request.put(IFLA_TXQLEN, static_cast<std::uint32_t>(*change.txqueuelen));
  if (change.alias) request.put_bytes(IFLA_IFALIAS, change.alias->data(), change.alias->size());
  if (change.master) request.put(IFLA_MASTER, static_cast<std::uint32_t>(*change.master));
  checkpoint("before link change");
  const NetlinkAnswer answer = socket.request(request.get());
  checkpoint("after link change");
  if (answer.error != 0) throw net_refused(operation, link.name, answer);
}

void remove_link(NetlinkSocket& socket, const LinkState& link) {
  NetlinkRequest request(RTM_DELLINK, 0, link_header(link.index));
  checkpoint("before link removal");
  const NetlinkAnswer answer = socket.request(request.get());
  checkpoint("after link removal");
  if (answer.error != 0 && answer.error != ENODEV) {
    throw net_refused("remove the network device", link.name, answer);
  }
}

}  // namespace vmrig
