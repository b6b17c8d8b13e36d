#include "hostcfg/net_address.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>

#include "hostcfg/checkpoint.hpp"
#include "hostcfg/folder_reader.hpp"
#include "hostcfg/link.hpp"

namespace vmrig {
namespace {

struct Address {
  int family = AF_UNSPEC;
  std::array<std::uint8_t, sizeof(in6_addr)> bytes{};
  std::uint8_t prefix = 0;
  std::size_t size() const { return family == AF_INET ? sizeof(in_addr) : sizeof(in6_addr); }
  bool operator==(const Address&) const = default;
};

std::optional<Address> parse_cidr(const std::string& cidr) {
  const std::size_t slash = cidr.find('/');
  if (slash == std::string::npos) return std::nullopt;
  const std::string host = cidr.substr(0, slash);
  Address address;
  address.family = host.find(':') == std::string::npos ? AF_INET : AF_INET6;
  if (::inet_pton(address.family, host.c_str(), address.bytes.data()) != 1) return std::nullopt;
  const auto prefix = parse_number<unsigned>(std::string_view(cidr).substr(slash + 1));
  if (!prefix || *prefix > address.size() * 8) return std::nullopt;
  address.prefix = static_cast<std::uint8_t>(*prefix);
  return address;
}

Address require_cidr(const std::string& cidr) {
  if (const auto address = parse_cidr(cidr)) return *address;
  throw Error({.status = ExitStatus::kUsage,
               .operation = "read the address",
               .object = cidr,
               .cause = "it is none with a prefix length",
               .mend = "write it as 192.0.2.1/24"});
}

ifaddrmsg address_header(const LinkState& link, const Address& address) {
  ifaddrmsg header{};
  header.ifa_family = static_cast<std::uint8_t>(address.family);
  header.ifa_prefixlen = address.prefix;
  header.ifa_index = static_cast<std::uint32_t>(link.index);
  return header;
}

NetlinkAnswer send_address(NetlinkSocket& socket, int type, int flags, const LinkState& link,
                           const Address& address) {
  ifaddrmsg header = address_header(link, address);
  if (address.family == AF_INET6 && type == RTM_NEWADDR) header.ifa_flags = IFA_F_NODAD;
  NetlinkRequest request(type, flags, header);
  request.put_bytes(IFA_LOCAL, address.bytes.data(), address.size());
  request.put_bytes(IFA_ADDRESS, address.bytes.data(), address.size());
  checkpoint("before address");
  NetlinkAnswer answer = socket.request(request.get());
  checkpoint("after address");
  return answer;
}

std::optional<std::string> cidr_of(nlmsghdr* message, const ifaddrmsg& header) {
  nlattr* value = nlmsg_find_attr(message, sizeof(ifaddrmsg), IFA_LOCAL);
  // IPv6 has IFA_LOCAL for point-to-point devices only.
  if (value == nullptr) value = nlmsg_find_attr(message, sizeof(ifaddrmsg), IFA_ADDRESS);
  const bool is_v4 = header.ifa_family == AF_INET;
  const std::size_t size = is_v4 ? sizeof(in_addr) : sizeof(in6_addr);
  if (value == nullptr || nla_len(value) < static_cast<int>(size)) return std::nullopt;
  if (!is_v4 && IN6_IS_ADDR_LINKLOCAL(static_cast<const in6_addr*>(nla_data(value)))) {
    return std::nullopt;
  }
  std::array<char, INET6_ADDRSTRLEN> text{};
  ::inet_ntop(header.ifa_family, nla_data(value), text.data(), text.size());
  return fmt::format("{}/{}", text.data(), header.ifa_prefixlen);
}

}  // namespace

std::map<int, std::vector<std::string>> read_addresses(NetlinkSocket& socket) {
  std::map<int, std::vector<std::string>> addresses;
  NetlinkRequest request(RTM_GETADDR, NLM_F_DUMP, ifaddrmsg{});
  const NetlinkAnswer answer = socket.request(request.get(), [&addresses](nlmsghdr* message) {
    if (message->nlmsg_type != RTM_NEWADDR) return;
    const auto* header = static_cast<const ifaddrmsg*>(nlmsg_data(message));
    if (header->ifa_family != AF_INET && header->ifa_family != AF_INET6) return;
    if (auto cidr = cidr_of(message, *header)) {
      addresses[static_cast<int>(header->ifa_index)].push_back(*std::move(cidr));
    }
  });
  if (answer.error != 0) throw net_refused("read the addresses of", "the host", answer);
  return addresses;
}

bool has_address(NetlinkSocket& socket, const LinkState& link, const std::string& cidr) {
  const Address wanted = require_cidr(cidr);
  const auto all = read_addresses(socket);
  const auto own = all.find(link.index);
  return own != all.end() &&
         std::any_of(own->second.begin(), own->second.end(),
                     [&wanted](const std::string& one) { return parse_cidr(one) == wanted; });
}

void add_address(NetlinkSocket& socket, const LinkState& link, const std::string& cidr) {
  const NetlinkAnswer answer =
      send_address(socket, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, link, require_cidr(cidr));
  if (answer.error != 0 && answer.error != EEXIST) {
    throw net_refused(fmt::format("give {} to", cidr), link.name, answer);
  }
}

void remove_address(NetlinkSocket& socket, const LinkState& link, const std::string& cidr) {
  const NetlinkAnswer answer = send_address(socket, RTM_DELADDR, 0, link, require_cidr(cidr));
  if (answer.error != 0 && answer.error != EADDRNOTAVAIL) {
    throw net_refused(fmt::format("take {} from", cidr), link.name, answer);
  }
}

}  // namespace vmrig
