#include "launcher/network.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>
#include <variant>

#include "hostcfg/base/nearest.hpp"
#include "launcher/network_names.hpp"
#include "launcher/preflight.hpp"

namespace vmrig {
namespace {

constexpr int kMostQueuesByProfile = 8;
constexpr const char* kVhostModule = "vhost_net";
constexpr const char* kCardDriver = "virtio-net-pci";

class NetworkPlanner {
 public:
  NetworkPlanner(const PlanInput& input, std::vector<Diagnostic>& findings)
      : input_(input), config_(input.config), facts_(input.facts), findings_(findings) {}

  NetworkPlan plan() {
    for (std::size_t i = 0; i < config_.nics.size(); ++i) {
      nic_ = &config_.nics[i];
      origin_ = fmt::format("nics[{}]", i);
      plan_nic();
    }
    check_rights();
    return std::move(result_);
  }

 private:
  void report(Severity severity, std::string_view key, std::string message, std::string mend,
              ExitStatus status = ExitStatus::kHost) {
    findings_.push_back(finding(severity, fmt::format("{}.{}", origin_, key), std::move(message),
                                std::move(mend), status));
  }
  void problem(std::string_view key, std::string message, std::string mend,
               ExitStatus status = ExitStatus::kHost) {
    report(Severity::kProblem, key, std::move(message), std::move(mend), status);
  }

  // VMs share bridges and VLAN devices, and so do the NICs of one.
  void step(HostAction action) {
    const auto same = [&action](const HostStep& other) { return other.action == action; };
    if (std::any_of(result_.steps.begin(), result_.steps.end(), same)) return;
    std::string text = describe_action(action, facts_);
    std::string undo = describe_undo(action, facts_);
    result_.steps.push_back({std::move(action), std::move(text), std::move(undo)});
    if (needs_rights_.empty()) needs_rights_ = origin_ + ".type";
  }

  void plan_nic() {
    NicHostEnd end;
    end.interface = interface_name(*nic_, config_.name);
    end.queues = queues();
    check_qemu();
    switch (nic_->type) {
      case NicType::kUser:
      case NicType::kVf:
      case NicType::kNone:
        break;
      case NicType::kTap:
        end.vhost = choose_vhost();
        plan_tap(end);
        break;
      case NicType::kMacvtap:
        end.vhost = choose_vhost();
        plan_macvtap(end);
        break;
      case NicType::kVhostUser:
        check_vhost_user();
        if (nic_->vhost_user.server && facts_.user_id == 0) plan_socket();
        break;
      case NicType::kPasst:
        plan_passt();
        break;
    }
    // Source: linux drivers/vhost/net.c, VHOST_NET_FEATURES. QEMU says nothing of it.
    if (end.vhost && nic_->packed) {
      report(Severity::kWarning, "packed",
             "the kernel's vhost has no packed rings: the guest gets split ones",
             R"("vhost": false)");
    }
    result_.ends.push_back(std::move(end));
  }

  int queues() const {
    if (nic_->queues) return *nic_->queues;
    const bool is_ours = makes_interface(*nic_);
    if (config_.profile != Profile::kNfv || !is_ours || nic_->model != NicModel::kVirtio) return 1;
    return std::min(config_.cpu.vcpus, kMostQueuesByProfile);
  }

  // A hotplug comes without QEMU's abilities: QEMU itself refuses then.
  void check_qemu() {
    const qmp::QemuCaps& caps = input_.caps;
    if (!caps.netdev_backends.empty()) {
      std::string backend(name_of(nic_->type));
      if (nic_->type == NicType::kMacvtap) backend = "tap";
      if (nic_->type == NicType::kPasst)
        backend = nic_forms(caps).stream_netdev ? "stream" : "socket";
      const bool has_backend = nic_->type != NicType::kVf && nic_->type != NicType::kNone;
      if (has_backend && caps.netdev_backends.count(backend) == 0) {
        problem("type", fmt::format("this QEMU has no netdev \"{}\"", backend), {});
      }
    }
    if (caps.device_properties.count(kCardDriver) == 0 || nic_->model != NicModel::kVirtio) return;
    const auto need = [&](const char* key, const char* property, bool is_set) {
      if (!is_set || caps.has_device_property(kCardDriver, property)) return;
      problem(key, fmt::format("this QEMU's {} has no \"{}\"", kCardDriver, property),
              fmt::format("leave \"{}\" out", key));
    };
    need("queues", "mq", nic_->queues.value_or(1) > 1);
    need("mtu", "host_mtu", nic_->mtu.has_value());
    need("rx_queue_size", "rx_queue_size", nic_->rx_queue_size.has_value());
    need("tx_queue_size", "tx_queue_size", nic_->tx_queue_size.has_value());
    need("packed", "packed", nic_->packed);
  }

  bool choose_vhost() {
    if (nic_->model != NicModel::kVirtio || nic_->vhost == false) return false;
    const DeviceFile& node = facts_.vhost_net;
    const bool is_needed = nic_->vhost.value_or(config_.profile == Profile::kNfv);
    if (node.opens) return true;
    if (!is_needed) return false;
    if (!node.exists && node.error.empty()) {
      report(Severity::kWarning, "vhost", "/dev/vhost-net was not checked", {});
    } else if (node.exists) {
      problem("vhost", "/dev/vhost-net does not open: " + node.error,
              "run vmrig as root, or give the device node to its user, or \"vhost\": false");
    } else if (facts_.vhost_net_available && facts_.user_id == 0) {
      step(LoadModule{kVhostModule});
    } else if (facts_.vhost_net_available) {
      problem("vhost", fmt::format("the module {} is not loaded", kVhostModule),
              fmt::format("modprobe {}, or \"vhost\": false", kVhostModule));
    } else {
      problem("vhost", fmt::format("this kernel has no module {}", kVhostModule),
              "install the kernel's modules, or \"vhost\": false");
    }
    return true;
  }

  // The device that is made must not be there, nor be made by another VM just now.
  void check_name(const std::string& name) {
    if (const std::string holder = holder_of_interface(name); !holder.empty()) {
      problem("ifname", fmt::format("{} is the network device of VM \"{}\"", quote(name), holder),
              fmt::format("\"ifname\": another name, or vmrig stop {}", holder), ExitStatus::kBusy);
    } else if (facts_.find_net(name) != nullptr) {
      const bool is_ours = facts_.find_net(name)->made_by_vmrig;
      problem("ifname", fmt::format("this host has a network device {} already", quote(name)),
              is_ours ? "vmrig recover, or \"ifname\": another name" : "\"ifname\": another name");
    }
  }

  std::string holder_of_interface(const std::string& name) const {
    for (const Lease& lease : input_.leases) {
      const auto& held = lease.interfaces;
      if (lease.vm != config_.name && std::find(held.begin(), held.end(), name) != held.end()) {
        return lease.vm;
      }
    }
    return {};
  }

  void check_tun() {
    const DeviceFile& tun = facts_.tun;
    if (tun.opens || (!tun.exists && tun.error.empty())) return;
    problem(
        "type",
        tun.exists ? "/dev/net/tun does not open: " + tun.error : "this host has no /dev/net/tun",
        tun.exists ? "run vmrig as root, or give the device node to its user" : "modprobe tun");
  }

  void plan_tap(const NicHostEnd& end) {
    const TapConfig& tap = nic_->tap;
    check_tun();
    if (tap.bridge) plan_bridge(*tap.bridge);
    if (tap.device) {
      check_existing_tap(end);
    } else {
      check_name(end.interface);
      step(CreateTap{.name = end.interface,
                     .queues = end.queues,
                     .owner_uid = {},
                     .mtu = nic_->mtu,
                     .mac = {},
                     .txqueuelen = tap.txqueuelen});
    }
    if (tap.bridge) {
      std::vector<int> trunk = tap.trunk;
      std::sort(trunk.begin(), trunk.end());
      trunk.erase(std::unique(trunk.begin(), trunk.end()), trunk.end());
      step(JoinBridge{.device = end.interface,
                      .bridge = tap.bridge->name,
                      .vlan = nic_->vlan,
                      .trunk = std::move(trunk)});
    }
    if (tap.ovs) {
      step(AddOvsPort{.bridge = tap.ovs->bridge,
                      .port = end.interface,
                      .tag = tap.ovs->tag,
                      .trunks = tap.ovs->trunks});
    }
    if (tap.address) step(SetAddress{end.interface, *tap.address});
    plan_rate(end);
  }

  void check_existing_tap(const NicHostEnd& end) {
    if (const std::string holder = holder_of_interface(end.interface); !holder.empty()) {
      return problem("device", fmt::format("VM \"{}\" uses {}", holder, quote(end.interface)),
                     "vmrig stop " + holder, ExitStatus::kBusy);
    }
    const NetDeviceFacts* device = facts_.find_net(end.interface);
    if (device == nullptr) {
      return problem(
          "device", missing_text(end.interface),
          fmt::format("ip tuntap add {} mode tap{}, or leave \"device\" out", end.interface,
                      end.queues > 1 ? " multi_queue vnet_hdr" : " vnet_hdr"));
    }
    if (device->kind != "tap") {
      return problem("device", fmt::format("{} is no tap", quote(end.interface)),
                     device->kind == "macvtap" ? R"("type": "macvtap")" : "");
    }
    if (end.queues > 1 && !device->multi_queue) {
      problem("queues", fmt::format("{} has one queue only", quote(end.interface)),
              "\"queues\": 1, or make the tap with multi_queue");
    }
    if (nic_->mtu && *nic_->mtu > device->mtu) {
      problem("mtu", fmt::format("is more than the {} of {}", device->mtu, quote(end.interface)),
              fmt::format("\"mtu\": {}", device->mtu));
    }
  }

  // "this host has no network device "eno", did you mean "eno1"?"
  std::string missing_text(const std::string& name) const {
    std::vector<std::string_view> names;
    for (const NetDeviceFacts& device : facts_.net) names.push_back(device.name);
    return fmt::format("this host has no network device {}{}", quote(name),
                       did_you_mean(name, names));
  }

  void plan_bridge(const BridgeConfig& bridge) {
    const NetDeviceFacts* device = facts_.find_net(bridge.name);
    if (device == nullptr && !bridge.create) {
      return problem("bridge", missing_text(bridge.name),
                     fmt::format(R"("bridge": {{"name": "{}", "create": true}})", bridge.name));
    }
    if (device != nullptr && device->kind != "bridge") {
      const bool is_ovs = device->link_kind == "openvswitch";
      return problem("bridge",
                     fmt::format("{} is {}", quote(bridge.name),
                                 is_ovs ? "an Open vSwitch bridge" : "no bridge"),
                     is_ovs ? fmt::format(R"("ovs": {{"bridge": "{}"}})", bridge.name) : "");
    }
    // One that vmrig has made is shared by all who ask for it; any other is only used.
    if (bridge.create && (device == nullptr || device->made_by_vmrig)) {
      step(CreateBridge{.name = bridge.name,
                        .address = bridge.address.value_or(std::string()),
                        .mtu = bridge.mtu,
                        .vlan_filtering = bridge.vlan_filtering});
    }
    if (device == nullptr) return;
    check_bridge(bridge, *device);
  }

  void check_bridge(const BridgeConfig& bridge, const NetDeviceFacts& device) {
    const bool wants_vlans = nic_->vlan || !nic_->tap.trunk.empty();
    if (wants_vlans && !device.vlan_filtering) {
      problem(nic_->vlan ? "vlan" : "trunk",
              fmt::format("{} has no VLAN filtering", quote(bridge.name)),
              fmt::format("ip link set {} type bridge vlan_filtering 1", bridge.name));
    }
    const bool has_ports =
        std::any_of(facts_.net.begin(), facts_.net.end(),
                    [&](const NetDeviceFacts& port) { return port.master == device.name; });
    if (nic_->mtu && *nic_->mtu > device.mtu && (has_ports || bridge.mtu)) {
      problem("mtu", fmt::format("is more than the {} of {}", device.mtu, quote(bridge.name)),
              fmt::format("\"mtu\": {}", device.mtu));
    }
    const auto& addresses = device.addresses;
    if (bridge.address &&
        std::find(addresses.begin(), addresses.end(), *bridge.address) == addresses.end()) {
      report(Severity::kWarning, "bridge",
             fmt::format("{} is there already, without the address {}", quote(bridge.name),
                         *bridge.address),
             fmt::format("ip address add {} dev {}", *bridge.address, bridge.name));
    }
  }

  void plan_macvtap(const NicHostEnd& end) {
    check_name(end.interface);
    const std::string& parent_name = *nic_->macvtap.parent;
    const std::string_view mode = name_of(nic_->macvtap.mode.value_or(MacvtapMode::kBridge));
    const NetDeviceFacts* parent = facts_.find_net(parent_name);
    if (parent == nullptr) return problem("parent", missing_text(parent_name), "ip -br link");
    check_parent(*parent);
    const std::string lower = nic_->vlan ? vlan_device(*parent, *nic_->vlan) : parent_name;
    check_modes(lower, mode);
    step(CreateMacvtap{.name = end.interface,
                       .parent = lower,
                       .mode = std::string(mode),
                       .mac = mac_of(*nic_, config_.name),
                       .mtu = nic_->mtu});
    plan_rate(end);
  }

  void check_parent(const NetDeviceFacts& parent) {
    if (parent.kind == "wireless") {
      problem("parent",
              fmt::format("{} is wireless: access points take frames of its own MAC only",
                          quote(parent.name)),
              R"("type": "passt", or "user")");
    } else if (parent.kind == "loopback") {
      problem("parent", fmt::format("{} is the loopback device", quote(parent.name)),
              R"("type": "user")");
    } else if (!parent.master.empty()) {
      problem("parent", fmt::format("{} is a port of {}", quote(parent.name), quote(parent.master)),
              fmt::format(R"("parent": "{}")", parent.master));
    } else if (!parent.up) {
      problem("parent", fmt::format("{} is down", quote(parent.name)),
              fmt::format("ip link set {} up", parent.name));
    }
    if (nic_->mtu && parent.mtu > 0 && *nic_->mtu > parent.mtu) {
      problem("mtu", fmt::format("is more than the {} of {}", parent.mtu, quote(parent.name)),
              fmt::format("\"mtu\": {}, or ip link set {} mtu {}", parent.mtu, parent.name,
                          *nic_->mtu));
    }
  }

  // The VLAN device of that number: the host's own, or one that vmrig makes.
  std::string vlan_device(const NetDeviceFacts& parent, int vlan) {
    for (const NetDeviceFacts& device : facts_.net) {
      if (device.link_kind != "vlan" || device.lower != parent.name || device.vlan_id != vlan) {
        continue;
      }
      if (device.made_by_vmrig) step(CreateVlan{device.name, parent.name, vlan});
      return device.name;
    }
    std::string name = vlan_device_name(parent.name, vlan);
    if (facts_.find_net(name) != nullptr) {
      problem("vlan",
              fmt::format("this host has a network device {}, which is not that VLAN of {}",
                          quote(name), quote(parent.name)),
              fmt::format("ip link add link {} name NAME type vlan id {}", parent.name, vlan));
    }
    step(CreateVlan{name, parent.name, vlan});
    return name;
  }

  // The kernel refuses passthru beside any other. Source: linux drivers/net/macvlan.c.
  void check_modes(const std::string& lower, std::string_view mode) {
    for (const NetDeviceFacts& other : facts_.net) {
      const bool is_macvlan = other.link_kind == "macvtap" || other.link_kind == "macvlan";
      if (!is_macvlan || other.lower != lower) continue;
      if (mode != "passthru" && other.mode != "passthru") continue;
      return problem(mode == "passthru" ? "mode" : "parent",
                     fmt::format("{} has {} {} already, and passthru is for one alone",
                                 quote(lower), other.link_kind, quote(other.name)),
                     mode == "passthru" ? R"("mode": "bridge")" : "");
    }
  }

  void plan_rate(const NicHostEnd& end) {
    if (!nic_->rate || (!nic_->rate->ingress && !nic_->rate->egress)) return;
    SetRate rate{.device = end.interface, .ingress_bit_s = {}, .egress_bit_s = {}};
    if (nic_->rate->ingress) rate.ingress_bit_s = parse_rate_bit_s(*nic_->rate->ingress);
    if (nic_->rate->egress) rate.egress_bit_s = parse_rate_bit_s(*nic_->rate->egress);
    step(std::move(rate));
  }

  void check_vhost_user() {
    const std::string& socket = *nic_->vhost_user.socket;
    const auto found = facts_.paths.find(socket);
    if (found == facts_.paths.end()) return;
    const PathFacts& file = found->second;
    if (file.type == PathFacts::Type::kMissing) {
      if (nic_->vhost_user.server) return;
      report(Severity::kWarning, "socket",
             fmt::format("{} is not there yet: QEMU waits for it", quote(socket)), {});
    } else if (file.type != PathFacts::Type::kOther) {
      problem("socket",
              fmt::format("{} is a {}, no socket", quote(socket), path_type_name(file.type)), {},
              ExitStatus::kUsage);
    }
  }

  void plan_socket() {
    HostAction action(MakeSocket{.device = nic_->id, .path = *nic_->vhost_user.socket});
    std::string text = describe_action(action, facts_);
    std::string undo = describe_undo(action, facts_);
    result_.steps.push_back({std::move(action), std::move(text), std::move(undo)});
  }

  void plan_passt() {
    std::string program;
    bool was_checked = false;
    for (const std::string& place : passt_places()) {
      const auto found = facts_.paths.find(place);
      if (found == facts_.paths.end()) continue;
      was_checked = true;
      if (program.empty() && found->second.type == PathFacts::Type::kFile) program = place;
    }
    if (was_checked && program.empty()) {
      problem("type", "passt is not installed", R"(apt install passt, or "type": "user")");
    }
    if (program.empty()) program = passt_places().front();
    result_.helpers.push_back(
        {.id = nic_->id, .program = std::move(program), .arguments = passt_arguments(*nic_)});
  }

  void check_rights() {
    if (needs_rights_.empty() || facts_.can_net_admin) return;
    findings_.push_back(finding(
        Severity::kProblem, needs_rights_,
        "taps, macvtaps and bridges can't be made without CAP_NET_ADMIN",
        "run vmrig as root, or setcap cap_net_admin+ep vmrig, or \"type\": \"user\" or \"passt\""));
  }

  const PlanInput& input_;
  const VmConfig& config_;
  const HostFacts& facts_;
  std::vector<Diagnostic>& findings_;
  const NicConfig* nic_ = nullptr;  // the one that is being planned
  std::string origin_;
  std::string needs_rights_;  // path of the first NIC that has a step
  NetworkPlan result_;
};

}  // namespace

NetworkPlan plan_network(const PlanInput& input, std::vector<Diagnostic>& findings) {
  return NetworkPlanner(input, findings).plan();
}

NicForms nic_forms(const qmp::QemuCaps& caps) {
  return {.stream_netdev = caps.netdev_backends.count("stream") != 0,
          .reconnect_ms = caps.chardev_reconnect_ms,
          .vhost_user_intx = false};
}

}  // namespace vmrig
