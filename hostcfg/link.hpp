// Network devices by rtnetlink: reading, making, changing, removing.
// Source: linux include/uapi/linux/if_link.h, Documentation/networking/.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "hostcfg/net_control.hpp"
#include "hostcfg/netlink.hpp"
#include "hostcfg/netlink_message.hpp"

namespace vmrig {

using MacAddress = std::array<std::uint8_t, 6>;

// "52:54:00:2d:87:99". Throws vmrig::Error.
MacAddress parse_mac(const std::string& text);

// One that belongs to no vendor. `first` is its first octet.
MacAddress random_mac(std::uint8_t first);

// All of this namespace, by index.
std::vector<LinkState> read_links(NetlinkSocket& socket);
std::optional<LinkState> read_link(NetlinkSocket& socket, const std::string& name);

// As read_link; throws vmrig::Error with `operation` when there is none.
LinkState require_link(NetlinkSocket& socket, const char* operation, const std::string& name);

struct NewLink {
  const char* operation;  // for errors: "make the bridge"
  std::string name;
  const char* kind;
  const char* module;  // that has this kind
  const char* what;    // in the plural, for a kernel without: "macvtaps"
  int parent = 0;      // index of IFLA_LINK; 0: none
  std::optional<MacAddress> mac = {};
  std::optional<int> mtu = {};
  std::function<void(NetlinkRequest&)> data = {};  // the attributes of IFLA_INFO_DATA; empty: none
};

// A link that is removed again unless it is kept. Taken down and away when its making fails half
// way.
class LinkMaker {
 public:
  // Makes it, down and without a mark. Throws vmrig::Error.
  LinkMaker(NetlinkSocket& socket, const NewLink& link);
  LinkMaker(const LinkMaker&) = delete;
  LinkMaker& operator=(const LinkMaker&) = delete;
  ~LinkMaker();

  const LinkState& link() const { return link_; }
  // Sets the alias and takes it up, in one request.
  void finish(const std::string& mark);

 private:
  NetlinkSocket& socket_;
  const char* operation_;
  LinkState link_;
  bool kept_ = false;
};

// What is set changes. The alias goes before the rest but MAC, MTU and name, and up comes last.
struct LinkChange {
  std::optional<MacAddress> mac;
  std::optional<int> mtu;
  std::optional<int> txqueuelen;
  std::optional<std::string> alias;
  std::optional<int> master;  // index; 0: none
  bool take_up = false;
};

// Throws vmrig::Error with `operation` on the device's name.
void change_link(NetlinkSocket& socket, const char* operation, const LinkState& link,
                 const LinkChange& change);

// Nothing when it is gone already. Throws vmrig::Error.
void remove_link(NetlinkSocket& socket, const LinkState& link);

}  // namespace vmrig
