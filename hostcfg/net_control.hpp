// The effects behind the actions on the network, each done and confirmed by reading back.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "hostcfg/net_action.hpp"

namespace vmrig {

// A network device as rtnetlink tells it.
struct LinkState {
  int index = 0;
  std::string name;
  std::string kind;    // "bridge", "tun", "macvtap", "vlan", …; empty: of a card, say
  std::string alias;   // empty: none
  std::string mac;     // lower case
  std::string master;  // the bridge or bond that it is a port of
  std::string lower;   // what a macvtap or VLAN device is on; empty when in another namespace
  std::string mode;    // of a macvlan or macvtap: "bridge", "vepa", "private", "passthru"
  int vlan_id = 0;     // of a VLAN device
  int mtu = 0;
  int max_mtu = 0;  // 0: not told
  bool up = false;
  bool vlan_filtering = false;  // of a bridge
};

struct PortState {
  std::string master;           // empty: a port of nothing
  std::vector<PortVlan> vlans;  // ascending; empty where the bridge does not filter
  bool operator==(const PortState&) const = default;
};

// The queueing disciplines that somebody has set on a device, those of the kernel's own choice
// left out. One that vmrig set is none of these.
struct RateState {
  std::string foreign_root;  // its kind: "htb"; empty: none
  bool foreign_ingress = false;
  bool ours = false;  // a limit of vmrig's is there, in part or whole
};

struct OvsPort {
  std::string bridge;
  std::string mark;  // empty: vmrig did not make it
};

// A seam as HostControl is. Every function throws vmrig::Error naming the device and why. What
// makes a device leaves none behind when it fails; when it is killed half way, what is there is
// either marked with its alias or is_unfinished().
class NetControl {
 public:
  virtual ~NetControl() = default;

  virtual std::optional<LinkState> link(const std::string& name) = 0;
  // Who uses the device, by name: ports of a bridge, devices on top of it.
  virtual std::vector<std::string> link_users(const LinkState& link) = 0;
  virtual void create_bridge(const CreateBridge& action, const std::string& mark) = 0;
  virtual void create_tap(const CreateTap& action, const std::string& mark) = 0;
  virtual void create_vlan(const CreateVlan& action, const std::string& mark) = 0;
  virtual void create_macvtap(const CreateMacvtap& action, const std::string& mark) = 0;
  // Nothing when it is gone already.
  virtual void remove_link(const LinkState& link) = 0;

  // nullopt when there is no such device.
  virtual std::optional<PortState> port(const std::string& device) = 0;
  virtual void join_bridge(const JoinBridge& action) = 0;
  virtual void restore_port(const std::string& device, const PortState& old) = 0;

  virtual bool has_address(const std::string& device, const std::string& cidr) = 0;
  virtual void add_address(const SetAddress& action) = 0;
  virtual void remove_address(const SetAddress& action) = 0;

  virtual RateState rate(const std::string& device) = 0;
  // Sets or changes it.
  virtual void set_rate(const SetRate& action, const std::string& mark) = 0;
  // Takes away what set_rate made with this mark, of a device that is gone, too.
  virtual void remove_rate(const std::string& device, const std::string& mark) = 0;

  virtual std::optional<OvsPort> ovs_port(const std::string& port) = 0;
  virtual void add_ovs_port(const AddOvsPort& action, const std::string& mark) = 0;
  virtual void remove_ovs_port(const AddOvsPort& action) = 0;
};

// What a create_… that was killed before it set the mark leaves: no alias yet, and down.
bool is_unfinished(const LinkState& link, const std::string& kind);

// This network namespace, by rtnetlink, /dev/net/tun and ovs-vsctl.
class LinuxNet final : public NetControl {
 public:
  std::optional<LinkState> link(const std::string& name) override;
  std::vector<std::string> link_users(const LinkState& link) override;
  void create_bridge(const CreateBridge& action, const std::string& mark) override;
  void create_tap(const CreateTap& action, const std::string& mark) override;
  void create_vlan(const CreateVlan& action, const std::string& mark) override;
  void create_macvtap(const CreateMacvtap& action, const std::string& mark) override;
  void remove_link(const LinkState& link) override;
  std::optional<PortState> port(const std::string& device) override;
  void join_bridge(const JoinBridge& action) override;
  void restore_port(const std::string& device, const PortState& old) override;
  bool has_address(const std::string& device, const std::string& cidr) override;
  void add_address(const SetAddress& action) override;
  void remove_address(const SetAddress& action) override;
  RateState rate(const std::string& device) override;
  void set_rate(const SetRate& action, const std::string& mark) override;
  void remove_rate(const std::string& device, const std::string& mark) override;
  std::optional<OvsPort> ovs_port(const std::string& port) override;
  void add_ovs_port(const AddOvsPort& action, const std::string& mark) override;
  void remove_ovs_port(const AddOvsPort& action) override;
};

}  // namespace vmrig
