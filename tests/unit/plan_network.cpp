// What a VM's NICs take of the host: steps, fds, refusals.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "devices/nic_description.hpp"
#include "hostcfg/base/error.hpp"
#include "launcher/network.hpp"
#include "launcher/network_names.hpp"
#include "launcher/show_plan.hpp"
#include "tests/support/plan_inputs.hpp"

using namespace vmrig;
using namespace vmrig::testing;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string vm_with(const std::string& nics, const std::string& more = {}) {
  return fmt::format(R"({{"name": "vm1", "cpu": {{"vcpus": 4}}, "memory": {{"size": "1GiB"}},
                          "nics": [{}]{}}})",
                     nics, more);
}

// eno1 is up; a bridge br0 with a port, an open vhost-net and a tap of the host's own.
HostFacts host() {
  HostFacts facts = recorded_facts("two-socket-72cpu");
  const auto add = [&facts](const std::string& name, const std::string& kind) -> NetDeviceFacts& {
    NetDeviceFacts device;
    device.name = name;
    device.index = 100 + static_cast<int>(facts.net.size());
    device.kind = kind;
    device.mtu = 1500;
    device.up = true;
    facts.net.push_back(device);
    return facts.net.back();
  };
  add("br0", "bridge").vlan_filtering = false;
  add("port0", "virtual").master = "br0";
  add("tap9", "tap");
  add("wlan0", "wireless");
  facts.tun = {.exists = true, .opens = true, .error = {}};
  facts.vhost_net = {.exists = true, .opens = true, .error = {}};
  facts.vhost_net_available = true;
  return facts;
}

std::string steps_of(const Plan& plan) {
  std::string text;
  for (const HostStep& step : plan.host_steps) {
    text += fmt::format("{} {}\n", action_kind(step.action), step.text);
  }
  return text;
}

Json netdev_of(const Plan& plan, const std::string& id) {
  for (const QemuArgument& argument : plan.arguments) {
    if (argument.words.front() != "-netdev") continue;
    Json netdev = Json::parse(argument.words.at(1));
    if (netdev.at("id") == id) return netdev;
  }
  return nullptr;
}

Json device_of(const Plan& plan, const std::string& id) {
  for (const QemuArgument& argument : plan.arguments) {
    if (argument.words.front() != "-device") continue;
    Json device = Json::parse(argument.words.at(1));
    if (device.value("id", "") == id) return device;
  }
  return nullptr;
}

std::string faults(const std::string& nic) {
  try {
    config_of(vm_with(R"({"id": "n0", )" + nic + "}"));
  } catch (const DiagnosticsError& error) {
    std::string text;
    for (const Diagnostic& fault : error.diagnostics()) text += format_diagnostic(fault) + "\n";
    return text;
  }
  return {};
}

std::string problems(const std::string& nic, const HostFacts& facts,
                     std::vector<Lease> leases = {}) {
  return problems_of(plan_of(vm_with(R"({"id": "n0", )" + nic + "}"), facts, std::move(leases)));
}

}  // namespace

TEST_CASE("a tap is made, joins its bridge, and QEMU gets one fd and one vhost fd a queue") {
  const Plan plan =
      plan_of(vm_with(R"({"id": "n0", "type": "tap", "bridge": "br0", "queues": 3})"), host());
  CHECK(problems_of(plan) == "");
  REQUIRE(plan.host_steps.size() == 2);
  const auto& tap = std::get<CreateTap>(plan.host_steps[0].action);
  CHECK(tap.name == "vm1-n0");
  CHECK(tap.queues == 3);
  CHECK(std::get<JoinBridge>(plan.host_steps[1].action).bridge == "br0");
  std::vector<FdSource> sources;
  for (const ChildFd& fd : plan.fds) {
    if (fd.source.kind != FdSource::Kind::kListeningSocket) sources.push_back(fd.source);
  }
  REQUIRE(sources.size() == 6);
  CHECK(sources[2] == FdSource{FdSource::Kind::kTapQueue, "vm1-n0", 2});
  CHECK(sources[3] == FdSource{FdSource::Kind::kVhostNet, "n0", 0});
  const int first = plan.fds.back().number - 5;
  const Json netdev = netdev_of(plan, "n0");
  CHECK(netdev.at("fds") == fmt::format("{}:{}:{}", first, first + 1, first + 2));
  CHECK(netdev.at("vhostfds") == fmt::format("{}:{}:{}", first + 3, first + 4, first + 5));
  const Json device = device_of(plan, "n0");
  CHECK(device.at("mq") == true);
  CHECK(device.at("vectors") == 8);
  CHECK(plan.claim.interfaces == std::vector<std::string>{"vm1-n0"});
}

TEST_CASE("two NICs on a bridge that is made make it once") {
  const std::string bridge = R"("bridge": {"name": "br9", "create": true, "vlan_filtering": true})";
  const Plan plan = plan_of(vm_with(R"({"id": "a", "type": "tap", "vlan": 5, )" + bridge +
                                    R"(}, {"id": "b", "type": "tap", )" + bridge + "}"),
                            host());
  CHECK(problems_of(plan) == "");
  const std::string steps = steps_of(plan);
  CHECK(steps.find("bridge ") == steps.rfind("bridge "));
  CHECK(plan.host_steps.size() == 5);
  CHECK(steps.find("bridge ") == 0);
}

TEST_CASE("a bridge that vmrig made is shared, one of the host's is only used") {
  const std::string vm =
      vm_with(R"({"id": "a", "type": "tap", "bridge": {"name": "br0", "create": true}})");
  HostFacts facts = host();
  CHECK(plan_of(vm, facts).host_steps.size() == 2);
  for (NetDeviceFacts& device : facts.net) device.made_by_vmrig = device.name == "br0";
  CHECK(std::holds_alternative<CreateBridge>(plan_of(vm, facts).host_steps.at(0).action));
}

TEST_CASE("a macvtap on a VLAN makes the VLAN device before it, unless the host has one") {
  const std::string vm =
      vm_with(R"({"id": "n0", "type": "macvtap", "parent": "eno1", "vlan": 100, "mode": "vepa"})");
  HostFacts facts = host();
  const Plan plan = plan_of(vm, facts);
  REQUIRE(plan.host_steps.size() == 2);
  CHECK(std::get<CreateVlan>(plan.host_steps[0].action).name == "eno1.100");
  const auto& macvtap = std::get<CreateMacvtap>(plan.host_steps[1].action);
  CHECK(macvtap.parent == "eno1.100");
  CHECK(macvtap.mode == "vepa");
  CHECK(macvtap.mac == stable_mac("vm1", "n0"));

  NetDeviceFacts vlan;
  vlan.name = "storage";
  vlan.kind = "virtual";
  vlan.link_kind = "vlan";
  vlan.lower = "eno1";
  vlan.vlan_id = 100;
  facts.net.push_back(vlan);
  const Plan other = plan_of(vm, facts);
  REQUIRE(other.host_steps.size() == 1);
  CHECK(std::get<CreateMacvtap>(other.host_steps[0].action).parent == "storage");
}

TEST_CASE("a rate becomes bits a second, as the guest sees them") {
  const Plan plan = plan_of(vm_with(R"({"id": "n0", "type": "tap", "bridge": "br0",
                                        "rate": {"ingress": "20Mbit", "egress": "500Kbit"}})"),
                            host());
  const auto& rate = std::get<SetRate>(plan.host_steps.back().action);
  CHECK(rate.ingress_bit_s == 20'000'000U);
  CHECK(rate.egress_bit_s == 500'000U);
}

TEST_CASE("the nfv profile takes a queue a vCPU, up to eight, and needs vhost") {
  const std::string vm = R"({"name": "vm1", "profile": "nfv", "cpu": {"vcpus": 12},
    "memory": {"size": "2GiB"}, "nics": [{"id": "n0", "type": "tap", "bridge": "br0"}]})";
  HostFacts facts = host();
  const Plan plan = plan_of(vm, facts);
  CHECK(plan.host_ends.at(0).queues == 8);
  CHECK(plan.host_ends.at(0).vhost);
  facts.vhost_net = {.exists = false, .opens = false, .error = "No such file or directory"};
  const Plan loading = plan_of(vm, facts);
  REQUIRE_FALSE(loading.host_steps.empty());
  CHECK(std::get<LoadModule>(loading.host_steps[0].action).name == "vhost_net");
  facts.vhost_net_available = false;
  CHECK(has(problems_of(plan_of(vm, facts)), "nics[0].vhost: this kernel has no module vhost_net"));
}

TEST_CASE("vhost is taken where it can be had, and left out when it is not wanted") {
  HostFacts facts = host();
  const std::string tap = R"({"id": "n0", "type": "tap", "bridge": "br0")";
  CHECK(plan_of(vm_with(tap + "}"), facts).host_ends.at(0).vhost);
  CHECK_FALSE(plan_of(vm_with(tap + R"(, "vhost": false})"), facts).host_ends.at(0).vhost);
  CHECK_FALSE(plan_of(vm_with(tap + R"(, "model": "e1000"})"), facts).host_ends.at(0).vhost);
  facts.vhost_net = {.exists = true, .opens = false, .error = "Permission denied"};
  const Plan plain = plan_of(vm_with(tap + "}"), facts);
  CHECK(problems_of(plain) == "");
  CHECK_FALSE(plain.host_ends.at(0).vhost);
  CHECK(has(problems_of(plan_of(vm_with(tap + R"(, "vhost": true})"), facts)),
            "/dev/vhost-net does not open: Permission denied"));
}

TEST_CASE("packed rings that the kernel's vhost does not have are told") {
  const auto warnings = [](const std::string& vhost) {
    const Plan plan = plan_of(
        vm_with(R"({"id": "n0", "type": "tap", "bridge": "br0", "packed": true, "vhost": )" +
                vhost + "}"),
        host());
    std::string text;
    for (const Diagnostic& fault : plan.preflight) text += format_diagnostic(fault) + "\n";
    return text;
  };
  CHECK(has(warnings("true"), "nics[0].packed: the kernel's vhost has no packed rings"));
  CHECK(warnings("false").find("packed") == std::string::npos);
}

TEST_CASE("vhost-user shares the guest's memory") {
  const Plan plan = plan_of(
      vm_with(R"({"id": "n0", "type": "vhost-user", "socket": "/run/v.sock", "queues": 2})"),
      host());
  CHECK(problems_of(plan) == "");
  CHECK(plan.config.memory.share);
  const std::string argv = fmt::format("{}", fmt::join(plan.argv(), " "));
  CHECK(has(argv, R"("qom-type":"memory-backend-memfd")"));
  CHECK(has(argv, R"("share":true)"));
  CHECK(has(argv, "socket,id=n0,path=/run/v.sock,reconnect=1,server=off"));
  CHECK(netdev_of(plan, "n0").at("chardev") == "n0");
  CHECK(device_of(plan, "n0").at("vectors") == 6);
}

TEST_CASE("without KVM a vhost-user NIC has no MSI-X, of which QEMU 7.2 dies") {
  const std::string config = vm_with(
      R"({"id": "n0", "type": "vhost-user", "socket": "/run/v.sock", "queues": 2},
         {"id": "n1", "type": "tap", "bridge": "br0", "queues": 2})");
  HostFacts facts = host();
  facts.kvm = {};
  const Plan plan = plan_of(config, facts);
  CHECK(plan.accel == Accel::kTcg);
  CHECK(device_of(plan, "n0").at("vectors") == 0);
  CHECK(device_of(plan, "n1").at("vectors") == 6);
}

TEST_CASE("passt gets the forwards in its own words") {
  const Plan plan = plan_of(vm_with(R"({"id": "n0", "type": "passt",
                                        "forward": ["tcp:127.0.0.1:2222-:22", "udp::53-:5353"]})"),
                            host());
  REQUIRE(plan.helpers.size() == 1);
  CHECK(plan.helpers[0].arguments ==
        std::vector<std::string>{"--tcp-ports", "127.0.0.1/2222:22", "--udp-ports", "53:5353"});
  CHECK(netdev_of(plan, "n0").at("type") == "stream");
  CHECK(netdev_of(plan, "n0").at("addr").at("str") == std::to_string(plan.fds.back().number));
}

TEST_CASE(
    "a NIC of type none has no backend, and a link that is down is set before the guest runs") {
  const Plan plan = plan_of(vm_with(R"({"id": "n0", "type": "none"},
                                       {"id": "n1", "type": "user", "link": "down"})"),
                            host());
  CHECK(netdev_of(plan, "n0").is_null());
  CHECK_FALSE(device_of(plan, "n0").contains("netdev"));
  CHECK(plan.links_down == std::vector<std::string>{"n1"});
}

TEST_CASE("interface names are stable, at most 15 bytes, and one VM's own") {
  NicConfig nic;
  nic.type = NicType::kTap;
  nic.id = "net0";
  CHECK(interface_name(nic, "csr1") == "csr1-net0");
  const std::string name = interface_name(nic, "a-very-long-name-of-a-vm");
  // The value itself is a promise: firewalls and monitors hang on it.
  CHECK(name == interface_name(nic, "a-very-long-name-of-a-vm"));
  CHECK(name.size() == 15);
  CHECK(name.starts_with("a-very-"));
  CHECK(name != interface_name(nic, "a-very-long-name-of-a-vn"));
  CHECK(vlan_device_name("eno1", 12) == "eno1.12");
  CHECK(vlan_device_name("enp175s0f0np0", 4094).size() <= 15);
  CHECK(vlan_device_name("enp175s0f0np0", 7) != vlan_device_name("enp175s0f0np1", 7));
}

TEST_CASE("what a NIC has made goes with it, what it shares with the last NIC that uses it") {
  NicConfig nic;
  nic.type = NicType::kTap;
  nic.id = "a";
  nic.tap.bridge = BridgeConfig{.name = "br9", .create = true, .address = {}, .mtu = {}};
  NicConfig other = nic;
  other.id = "b";
  const HostAction bridge = CreateBridge{.name = "br9", .address = {}, .mtu = {}};
  CHECK(is_of_nic(bridge, nic, "vm1", {}));
  CHECK_FALSE(is_of_nic(bridge, nic, "vm1", {other}));
  CHECK(is_of_nic(JoinBridge{.device = "vm1-a", .bridge = "br9", .vlan = {}, .trunk = {}}, nic,
                  "vm1", {other}));
  CHECK_FALSE(is_of_nic(SetAddress{"vm1-b", "10.0.0.1/24"}, nic, "vm1", {other}));
  CHECK_FALSE(is_of_nic(LoadModule{"vhost_net"}, nic, "vm1", {}));
}

TEST_CASE("keys that do not suit the type or the model are refused, with the type that they suit") {
  CHECK(has(faults(R"("type": "user", "queues": 2)"),
            "queues: is not for type \"user\", only for tap, macvtap, vhost-user"));
  CHECK(
      has(faults(R"("type": "tap", "bridge": "br0", "forward": ["tcp::1-:2"])"), "only for user"));
  CHECK(has(faults(R"("type": "macvtap", "parent": "e", "bridge": "br0")"), "only for tap"));
  CHECK(has(faults(R"("type": "vf", "pf": "e", "queues": 2)"), "is not for a VF"));
  CHECK(has(faults(R"("type": "vf", "pf": "e", "packed": true)"), "is not for a VF"));
  CHECK(has(faults(R"("type": "tap", "bridge": "b", "model": "e1000", "packed": true)"),
            "is for the virtio model only"));
  CHECK(has(faults(R"("type": "tap", "bridge": "b", "model": "e1000", "queues": 2)"),
            "only the virtio model has several queues"));
  CHECK(has(faults(R"("type": "tap", "brigde": "b")"), "did you mean \"bridge\""));
  CHECK(has(faults(R"("type": "macvtab")"), "macvtap"));
}

TEST_CASE("a host end that is incomplete or contradicts itself is refused") {
  CHECK(has(faults(R"("type": "tap")"), "bridge: is missing"));
  CHECK(has(faults(R"("type": "macvtap")"), "parent: is missing"));
  CHECK(has(faults(R"("type": "vhost-user")"), "socket: is missing"));
  CHECK(has(faults(R"("type": "tap", "bridge": "b", "ovs": {"bridge": "o"})"), "one bridge only"));
  CHECK(has(faults(R"("type": "tap", "bridge": "b", "address": "10.0.0.1/24")"), "no port"));
  CHECK(has(faults(R"("type": "tap", "address": "10.0.0.1")"), "no address with a prefix"));
  CHECK(has(faults(R"("type": "tap", "address": "10.0.0.1/33")"), "no address with a prefix"));
  CHECK(has(faults(R"("type": "tap", "address": "10.0.0.1/24", "vlan": 3)"), "Linux bridge"));
  CHECK(has(faults(R"("type": "tap", "bridge": {"name": "b", "mtu": 1500})"), "vmrig makes"));
  CHECK(has(faults(R"("type": "tap", "bridge": {"name": "b", "create": true}, "vlan": 3)"),
            "needs a bridge with VLAN filtering"));
  CHECK(has(faults(R"("type": "tap", "bridge": "b", "ifname": "sixteen-bytes-ab")"),
            "15 is the most"));
  CHECK(has(faults(R"("type": "tap", "bridge": "a/b")"), "no name of a network device"));
  CHECK(has(faults(R"("type": "tap", "bridge": "b", "queues": 5)"),
            "queues: 5 queues are more than the VM's 4 vCPUs"));
  CHECK(has(faults(R"("type": "tap", "bridge": "b", "queues": 257)"), "queues"));
  CHECK(has(faults(R"("type": "tap", "bridge": "b", "rx_queue_size": 300)"), "no power of two"));
  CHECK(has(faults(R"("type": "tap", "bridge": "b", "tx_queue_size": 512)"), "256 at most"));
  CHECK(has(faults(R"("type": "tap", "bridge": "b", "rate": {"egress": "10MB"})"), "is no rate"));
  CHECK(has(faults(R"("type": "tap", "bridge": "b", "link": "auto")"), "is up or down"));
  CHECK(has(faults(R"("type": "vf", "pf": "e", "link": "down")"), "what its PF is told"));
  CHECK(has(faults(R"("type": "passt", "forward": ["tcp::2222-10.0.2.15:22"])"), "knows itself"));
  CHECK(has(faults(R"("type": "passt", "isolated": true, "forward": ["tcp::2222-:22"])"),
            "can't forward"));
}

TEST_CASE("two NICs can't have one network device") {
  try {
    config_of(vm_with(R"({"id": "a", "type": "tap", "bridge": "b", "ifname": "t0"},
                         {"id": "b", "type": "tap", "device": "t0"})"));
    FAIL("it was taken");
  } catch (const DiagnosticsError& error) {
    CHECK(has(error.what(), "nics[1].device: \"t0\" is the network device of nics[0] already"));
  }
}

TEST_CASE("a parent that is missing, down, wireless or a port is refused with the mend") {
  HostFacts facts = host();
  const auto macvtap = [](const std::string& parent) {
    return R"("type": "macvtap", "parent": ")" + parent + "\"";
  };
  CHECK(has(problems(macvtap("eno"), facts), "no network device \"eno\", did you mean \"eno1\"?"));
  CHECK(has(problems(macvtap("wlan0"), facts), "wireless"));
  CHECK(has(problems(macvtap("lo"), facts), "loopback"));
  CHECK(has(problems(macvtap("port0"), facts), "\"port0\" is a port of \"br0\""));
  CHECK(has(problems(macvtap("eno1") + R"(, "mtu": 9217)", facts), "is more than the 9216"));
  for (NetDeviceFacts& device : facts.net) device.up = device.up && device.name != "eno1";
  CHECK(has(problems(macvtap("eno1"), facts), "\"eno1\" is down | ip link set eno1 up"));
}

TEST_CASE("passthru is for one macvtap alone") {
  HostFacts facts = host();
  NetDeviceFacts other;
  other.name = "mv0";
  other.kind = "macvtap";
  other.link_kind = "macvtap";
  other.lower = "eno1";
  other.mode = "bridge";
  facts.net.push_back(other);
  const std::string nic = R"("type": "macvtap", "parent": "eno1")";
  CHECK(has(problems(nic + R"(, "mode": "passthru")", facts), "nics[0].mode"));
  CHECK(problems(nic, facts) == "");
  facts.net.back().mode = "passthru";
  CHECK(has(problems(nic, facts), "nics[0].parent"));
}

TEST_CASE("a bridge that is missing, no bridge or without VLAN filtering is refused") {
  const HostFacts facts = host();
  CHECK(has(problems(R"("type": "tap", "bridge": "br1")", facts), R"("create": true)"));
  CHECK(has(problems(R"("type": "tap", "bridge": "eno1")", facts), "\"eno1\" is no bridge"));
  CHECK(has(problems(R"("type": "tap", "bridge": "br0", "vlan": 3)", facts),
            "ip link set br0 type bridge vlan_filtering 1"));
  CHECK(has(problems(R"("type": "tap", "bridge": "br0", "mtu": 9000)", facts),
            "is more than the 1500 of \"br0\""));
}

TEST_CASE("a name that the host or another VM has is refused") {
  const HostFacts facts = host();
  CHECK(has(problems(R"("type": "tap", "bridge": "br0", "ifname": "tap9")", facts),
            "nics[0].ifname: this host has a network device \"tap9\" already"));
  Lease lease;
  lease.vm = "other";
  lease.interfaces = {"vm1-n0", "tap9"};
  CHECK(has(problems(R"("type": "tap", "bridge": "br0")", facts, {lease}),
            "6 nics[0].ifname: \"vm1-n0\" is the network device of VM \"other\""));
  CHECK(has(problems(R"("type": "tap", "device": "tap9")", facts, {lease}),
            "6 nics[0].device: VM \"other\" uses \"tap9\""));
}

TEST_CASE("an existing tap is left as it is, and has to be one with the queues that are wanted") {
  HostFacts facts = host();
  const Plan plan = plan_of(vm_with(R"({"id": "n0", "type": "tap", "device": "tap9"})"), facts);
  CHECK(problems_of(plan) == "");
  CHECK(plan.host_steps.empty());
  CHECK(has(problems(R"("type": "tap", "device": "tap9", "queues": 2)", facts), "one queue only"));
  CHECK(has(problems(R"("type": "tap", "device": "eno1")", facts), "is no tap"));
  CHECK(has(problems(R"("type": "tap", "device": "tap8")", facts), "did you mean \"tap9\""));
}

TEST_CASE("without CAP_NET_ADMIN nothing can be made, but an existing tap be used") {
  HostFacts facts = host();
  facts.can_net_admin = false;
  CHECK(has(problems(R"("type": "tap", "bridge": "br0")", facts), "without CAP_NET_ADMIN"));
  CHECK(problems(R"("type": "tap", "device": "tap9")", facts) == "");
  CHECK(problems(R"("type": "passt")", facts) == "");
}

TEST_CASE("a duplicate MAC address among running VMs is refused, but for islands") {
  Lease lease;
  lease.vm = "other";
  lease.macs = {"52:54:00:aa:bb:cc"};
  const std::string mac = R"(, "mac": "52:54:00:AA:BB:CC")";
  CHECK(has(problems(R"("type": "tap", "bridge": "br0")" + mac, host(), {lease}),
            "52:54:00:aa:bb:cc is in use by VM \"other\""));
  CHECK(problems(R"("type": "passt")" + mac, host(), {lease}) == "");
}

TEST_CASE("what this QEMU lacks is found before it starts") {
  const VmConfig config =
      config_of(vm_with(R"({"id": "n0", "type": "tap", "bridge": "br0", "packed": true})"));
  qmp::QemuCaps caps = recorded_caps("7.2");
  caps.netdev_backends.erase("tap");
  caps.device_properties["virtio-net-pci"].erase("packed");
  const HostFacts facts = host();
  const Plan plan = make_plan(
      {.config = config, .facts = facts, .caps = caps, .qemu = "/usr/bin/qemu", .leases = {}});
  CHECK(has(problems_of(plan), "nics[0].type: this QEMU has no netdev \"tap\""));
  CHECK(has(problems_of(plan), "nics[0].packed: this QEMU's virtio-net-pci has no \"packed\""));
}

TEST_CASE("rates are read exactly, and refused out of range") {
  CHECK(parse_rate_bit_s("64Kbit") == 64'000U);
  CHECK(parse_rate_bit_s("1000Gbit") == 1'000'000'000'000U);
  CHECK_THROWS(parse_rate_bit_s("63Kbit"));
  CHECK_THROWS(parse_rate_bit_s("1001Gbit"));
  CHECK_THROWS(parse_rate_bit_s("99999999999999999999Mbit"));
  CHECK_THROWS(parse_rate_bit_s("-1Mbit"));
  CHECK_THROWS(parse_rate_bit_s("Mbit"));
}
