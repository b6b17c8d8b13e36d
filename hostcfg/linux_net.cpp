#include "hostcfg/bridge.hpp"
#include "hostcfg/link.hpp"
#include "hostcfg/net_address.hpp"
#include "hostcfg/net_control.hpp"
#include "hostcfg/ovs.hpp"
#include "hostcfg/rate_limit.hpp"
#include "hostcfg/stacked_link.hpp"
#include "hostcfg/tap.hpp"

// A socket for each call: they are few, and a socket stays in the namespace it was made in.
namespace vmrig {

std::optional<LinkState> LinuxNet::link(const std::string& name) {
  NetlinkSocket socket;
  return read_link(socket, name);
}

std::vector<std::string> LinuxNet::link_users(const LinkState& link) {
  NetlinkSocket socket;
  std::vector<std::string> users;
  for (const LinkState& other : read_links(socket)) {
    if (other.master == link.name || other.lower == link.name) users.push_back(other.name);
  }
  return users;
}

void LinuxNet::create_bridge(const CreateBridge& action, const std::string& mark) {
  NetlinkSocket socket;
  vmrig::create_bridge(socket, action, mark);
}

void LinuxNet::create_tap(const CreateTap& action, const std::string& mark) {
  NetlinkSocket socket;
  vmrig::create_tap(socket, action, mark);
}

void LinuxNet::create_vlan(const CreateVlan& action, const std::string& mark) {
  NetlinkSocket socket;
  vmrig::create_vlan(socket, action, mark);
}

void LinuxNet::create_macvtap(const CreateMacvtap& action, const std::string& mark) {
  NetlinkSocket socket;
  vmrig::create_macvtap(socket, action, mark);
}

void LinuxNet::remove_link(const LinkState& link) {
  NetlinkSocket socket;
  vmrig::remove_link(socket, link);
}

std::optional<PortState> LinuxNet::port(const std::string& device) {
  NetlinkSocket socket;
  const auto link = read_link(socket, device);
  if (!link) return std::nullopt;
  PortState port{.master = link->master, .vlans = {}};
  if (!link->master.empty()) port.vlans = read_port_vlans(socket, *link);
  return port;
}

void LinuxNet::join_bridge(const JoinBridge& action) {
  NetlinkSocket socket;
  vmrig::join_bridge(socket, action);
}

void LinuxNet::restore_port(const std::string& device, const PortState& old) {
  NetlinkSocket socket;
  vmrig::restore_port(socket, device, old);
}

bool LinuxNet::has_address(const std::string& device, const std::string& cidr) {
  NetlinkSocket socket;
  const auto link = read_link(socket, device);
  return link && vmrig::has_address(socket, *link, cidr);
}

void LinuxNet::add_address(const SetAddress& action) {
  NetlinkSocket socket;
  const LinkState link = require_link(socket, "give an address to", action.device);
  vmrig::add_address(socket, link, action.cidr);
}

void LinuxNet::remove_address(const SetAddress& action) {
  NetlinkSocket socket;
  const auto link = read_link(socket, action.device);
  if (link) vmrig::remove_address(socket, *link, action.cidr);
}

RateState LinuxNet::rate(const std::string& device) {
  NetlinkSocket socket;
  return read_rate(socket, device);
}

void LinuxNet::set_rate(const SetRate& action, const std::string& mark) {
  NetlinkSocket socket;
  vmrig::set_rate(socket, action, mark);
}

void LinuxNet::remove_rate(const std::string& device, const std::string& mark) {
  NetlinkSocket socket;
  vmrig::remove_rate(socket, device, mark);
}

std::optional<OvsPort> LinuxNet::ovs_port(const std::string& port) { return read_ovs_port(port); }

void LinuxNet::add_ovs_port(const AddOvsPort& action, const std::string& mark) {
  vmrig::add_ovs_port(action, mark);
}

void LinuxNet::remove_ovs_port(const AddOvsPort& action) { vmrig::remove_ovs_port(action); }

}  // namespace vmrig
