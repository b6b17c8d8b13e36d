// A network without a kernel, as a seam for tests of the lease.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "hostcfg/checkpoint.hpp"
#include "hostcfg/net_control.hpp"

namespace vmrig::testing {

class FakeNet final : public NetControl {
 public:
  std::map<std::string, LinkState> links;
  std::map<std::string, std::vector<PortVlan>> vlans;  // by port
  std::set<std::pair<std::string, std::string>> addresses;
  std::map<std::string, RateState> rates;
  std::map<std::string, OvsPort> ovs;

  void add(const std::string& name, const std::string& kind, const std::string& alias = {}) {
    LinkState link;
    link.name = name;
    link.kind = kind;
    link.alias = alias;
    link.up = true;
    links[name] = link;
  }

  std::optional<LinkState> link(const std::string& name) override {
    const auto found = links.find(name);
    return found == links.end() ? std::nullopt : std::optional(found->second);
  }
  std::vector<std::string> link_users(const LinkState& link) override {
    std::vector<std::string> users;
    for (const auto& [name, other] : links) {
      if (other.master == link.name || other.lower == link.name) users.push_back(name);
    }
    return users;
  }
  void create_bridge(const CreateBridge& action, const std::string& mark) override {
    if (links.count(action.name) == 0) create(action.name, "bridge", mark);
  }
  void create_tap(const CreateTap& action, const std::string& mark) override {
    // Killed before it has its mark, it leaves nothing.
    effect([&] { add(action.name, "tun", mark); });
  }
  void create_vlan(const CreateVlan& action, const std::string& mark) override {
    if (links.count(action.name) != 0) return;
    create(action.name, "vlan", mark, [&](LinkState& link) {
      link.lower = action.parent;
      link.vlan_id = action.vlan;
    });
  }
  void create_macvtap(const CreateMacvtap& action, const std::string& mark) override {
    create(action.name, "macvtap", mark, [&](LinkState& link) {
      link.lower = action.parent;
      link.mode = action.mode;
    });
  }
  void remove_link(const LinkState& link) override {
    effect([&] {
      links.erase(link.name);
      for (auto& [name, other] : links) {
        if (other.master == link.name) other.master.clear();
      }
    });
  }
  std::optional<PortState> port(const std::string& device) override {
    const auto found = link(device);
    if (!found) return std::nullopt;
    return PortState{found->master, vlans[device]};
  }
  void join_bridge(const JoinBridge& action) override {
    effect([&] { links.at(action.device).master = action.bridge; });
    if (action.vlan) effect([&] { vlans[action.device] = {{*action.vlan, true, true}}; });
  }
  void restore_port(const std::string& device, const PortState& old) override {
    effect([&] { links.at(device).master = old.master; });
    effect([&] { vlans[device] = old.vlans; });
  }
  bool has_address(const std::string& device, const std::string& cidr) override {
    return addresses.count({device, cidr}) != 0;
  }
  void add_address(const SetAddress& action) override {
    effect([&] { addresses.insert({action.device, action.cidr}); });
  }
  void remove_address(const SetAddress& action) override {
    effect([&] { addresses.erase({action.device, action.cidr}); });
  }
  RateState rate(const std::string& device) override { return rates[device]; }
  void set_rate(const SetRate& action, const std::string&) override {
    effect([&] { rates[action.device].ours = true; });
  }
  void remove_rate(const std::string& device, const std::string&) override {
    effect([&] { rates[device].ours = false; });
  }
  std::optional<OvsPort> ovs_port(const std::string& port) override {
    const auto found = ovs.find(port);
    return found == ovs.end() ? std::nullopt : std::optional(found->second);
  }
  void add_ovs_port(const AddOvsPort& action, const std::string& mark) override {
    effect([&] { ovs[action.port] = {action.bridge, mark}; });
  }
  void remove_ovs_port(const AddOvsPort& action) override {
    effect([&] { ovs.erase(action.port); });
  }

 private:
  static void effect(const std::function<void()>& change) {
    checkpoint("before");
    change();
    checkpoint("after");
  }
  void create(const std::string& name, const std::string& kind, const std::string& mark,
              const std::function<void(LinkState&)>& details = {}) {
    effect([&] {
      add(name, kind);
      links.at(name).up = false;
      if (details) details(links.at(name));
    });
    effect([&] {
      links.at(name).alias = mark;
      links.at(name).up = true;
    });
  }
};

}  // namespace vmrig::testing
