#include "hostcfg/net_lease.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "hostcfg/base/error.hpp"
#include "hostcfg/host_refusal.hpp"

namespace vmrig {
namespace {

using Result = UndoLine::Result;

// A thing that VMs share belongs to vmrig as a whole: whose it is stands in the journals.
NetOldState shared_old(NetControl& net, const std::string& name) {
  const auto link = net.link(name);
  NetOldState old;
  old.mark = kMadeByVmrig;
  old.existed = link && link->alias != kMadeByVmrig;
  return old;
}

NetOldState private_old(NetControl& net, const char* operation, const std::string& name,
                        const std::string& mark) {
  if (net.link(name)) {
    throw host_refusal(operation, name, "there is a network device of this name",
                       "another \"ifname\" in the config, or: ip -d link show " + name);
  }
  NetOldState old;
  old.mark = mark;
  return old;
}

void require(NetControl& net, const char* operation, const std::string& device) {
  if (!net.link(device)) throw host_refusal(operation, device, "there is no such network device");
}

UndoLine line(const HostAction& action, Result result, std::string text) {
  return {action, result, std::move(text)};
}

std::string shown_master(const std::string& master) {
  return master.empty() ? "no port of a bridge" : "a port of " + master;
}

// The journal entry of a create_… whose maker was killed has no alias to go by yet.
bool has_made(const LinkState& link, const NetOldState& old) { return link.alias == old.mark; }

}  // namespace

NetOldState ReadOldNet::operator()(const CreateBridge& action) const {
  return shared_old(net, action.name);
}

NetOldState ReadOldNet::operator()(const CreateTap& action) const {
  return private_old(net, "make the tap", action.name, mark);
}

NetOldState ReadOldNet::operator()(const JoinBridge& action) const {
  const auto port = net.port(action.device);
  if (!port) {
    throw host_refusal("make a port of a bridge", action.device, "there is no such network device");
  }
  NetOldState old;
  old.master = port->master;
  old.vlans = port->vlans;
  return old;
}

NetOldState ReadOldNet::operator()(const SetAddress& action) const {
  require(net, "give an address to", action.device);
  NetOldState old;
  old.existed = net.has_address(action.device, action.cidr);
  return old;
}

NetOldState ReadOldNet::operator()(const CreateVlan& action) const {
  return shared_old(net, action.name);
}

NetOldState ReadOldNet::operator()(const CreateMacvtap& action) const {
  return private_old(net, "make the macvtap", action.name, mark);
}

NetOldState ReadOldNet::operator()(const SetRate& action) const {
  constexpr const char* kOperation = "limit the rate of";
  require(net, kOperation, action.device);
  const RateState now = net.rate(action.device);
  if (!now.foreign_root.empty() && action.ingress_bit_s) {
    throw host_refusal(kOperation, action.device,
                       fmt::format("it has a queueing discipline already ({})", now.foreign_root),
                       fmt::format("tc qdisc del dev {} root, or no \"rate\"", action.device));
  }
  if (now.foreign_ingress && action.egress_bit_s) {
    throw host_refusal(kOperation, action.device, "it has an ingress queueing discipline already",
                       fmt::format("tc qdisc del dev {} ingress, or no \"rate\"", action.device));
  }
  NetOldState old;
  old.mark = mark;
  return old;
}

NetOldState ReadOldNet::operator()(const AddOvsPort& action) const {
  if (const auto port = net.ovs_port(action.port)) {
    throw host_refusal("set up the Open vSwitch port", action.port,
                       "it is a port of " + port->bridge + " already",
                       fmt::format("ovs-vsctl del-port {}", action.port));
  }
  NetOldState old;
  old.mark = mark;
  return old;
}

UndoLine UndoNet::remove(const HostAction& action, const std::string& name, bool is_ours) const {
  const auto link = net.link(name);
  if (!link) return line(action, Result::kAsBefore, name + " is gone");
  if (!is_ours) {
    return line(action, Result::kLeft, name + " was not made by vmrig: left as it is");
  }
  net.remove_link(*link);
  return line(action, Result::kPutBack, name + " is removed");
}

UndoLine UndoNet::remove_shared(const HostAction& action, const std::string& name,
                                bool is_ours) const {
  const auto link = net.link(name);
  if (link && old.existed) return line(action, Result::kAsBefore, name + " was there before");
  if (link && is_ours) {
    if (rules.others_share && rules.others_share(action)) {
      return line(action, Result::kLeft, name + " stays: another VM uses it");
    }
    const std::vector<std::string> users = net.link_users(*link);
    if (!users.empty()) {
      return line(action, Result::kLeft,
                  fmt::format("{} stays: {} {} it", name, fmt::join(users, ", "),
                              users.size() == 1 ? "uses" : "use"));
    }
  }
  return remove(action, name, is_ours);
}

UndoLine UndoNet::operator()(const CreateBridge& action) const {
  const auto link = net.link(action.name);
  const bool is_ours =
      link && (has_made(*link, old) || (is_intent() && is_unfinished(*link, "bridge")));
  return remove_shared(action, action.name, is_ours);
}

UndoLine UndoNet::operator()(const CreateVlan& action) const {
  const auto link = net.link(action.name);
  const bool is_ours = link && (has_made(*link, old) ||
                                (is_intent() && is_unfinished(*link, "vlan") &&
                                 link->lower == action.parent && link->vlan_id == action.vlan));
  return remove_shared(action, action.name, is_ours);
}

UndoLine UndoNet::operator()(const CreateTap& action) const {
  // Until it has its mark it goes with its maker.
  const auto link = net.link(action.name);
  return remove(action, action.name, link && has_made(*link, old));
}

UndoLine UndoNet::operator()(const CreateMacvtap& action) const {
  const auto link = net.link(action.name);
  const bool is_ours =
      link && (has_made(*link, old) || (is_intent() && is_unfinished(*link, "macvtap") &&
                                        link->lower == action.parent && link->mode == action.mode));
  return remove(action, action.name, is_ours);
}

UndoLine UndoNet::operator()(const JoinBridge& action) const {
  const auto now = net.port(action.device);
  if (!now) return line(action, Result::kAsBefore, action.device + " is gone");
  PortState before{.master = old.master, .vlans = old.vlans};
  if (*now == before || (now->master != action.bridge && now->master == before.master)) {
    return line(action, Result::kAsBefore,
                fmt::format("{} is {}", action.device, shown_master(now->master)));
  }
  if (now->master != action.bridge) {
    return line(action, Result::kLeft,
                fmt::format("{} is {}, which vmrig did not do: left as it is", action.device,
                            shown_master(now->master)));
  }
  if (!before.master.empty() && !net.link(before.master)) {
    net.restore_port(action.device, {});
    return line(action, Result::kLeft,
                fmt::format("{} is no port any more: {} is gone", action.device, before.master));
  }
  net.restore_port(action.device, before);
  return line(action, Result::kPutBack,
              fmt::format("{} is {} again", action.device, shown_master(before.master)));
}

UndoLine UndoNet::operator()(const SetAddress& action) const {
  const std::string text = fmt::format("{} of {}", action.cidr, action.device);
  if (old.existed) return line(action, Result::kAsBefore, text + " was there before");
  if (!net.has_address(action.device, action.cidr)) {
    return line(action, Result::kAsBefore, text + " is gone");
  }
  net.remove_address(action);
  return line(action, Result::kPutBack, text + " is removed");
}

UndoLine UndoNet::operator()(const SetRate& action) const {
  if (!net.rate(action.device).ours) {
    return line(action, Result::kAsBefore, action.device + " has no rate limit of vmrig's");
  }
  net.remove_rate(action.device, old.mark);
  return line(action, Result::kPutBack, action.device + " has no rate limit any more");
}

UndoLine UndoNet::operator()(const AddOvsPort& action) const {
  const auto port = net.ovs_port(action.port);
  if (!port) {
    return line(action, Result::kAsBefore,
                fmt::format("{} is no port of {}", action.port, action.bridge));
  }
  if (port->bridge != action.bridge || port->mark != old.mark) {
    return line(action, Result::kLeft,
                fmt::format("{} is a port of {}, which vmrig did not do: left as it is",
                            action.port, port->bridge));
  }
  net.remove_ovs_port(action);
  return line(action, Result::kPutBack,
              fmt::format("{} is no port of {} any more", action.port, action.bridge));
}

}  // namespace vmrig
