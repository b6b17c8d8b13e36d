// Actions on the network, on this kernel, in a network namespace of their own.
#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "hostcfg/base/error.hpp"
#include "hostcfg/host_lease.hpp"
#include "hostcfg/net_devices.hpp"
#include "hostcfg/net_fds.hpp"
#include "hostcfg/rate_limit.hpp"
#include "tests/support/network_sandbox.hpp"
#include "tests/support/skip.hpp"
#include "tests/support/temp_folder.hpp"

using namespace vmrig;
using namespace vmrig::testing;

namespace {

const JournalOwner kOwner{"boot", 1, 1};

const CreateTap kTap{.name = "v1-net0",
                     .queues = 2,
                     .owner_uid = 12345,
                     .mtu = 1400,
                     .mac = "fe:54:00:00:00:01",
                     .txqueuelen = 777};
const CreateBridge kBridge{.name = "vbr0", .address = "10.77.0.1/24", .mtu = 1400};
const CreateMacvtap kMacvtap{.name = "v1-net1",
                             .parent = "veth0",
                             .mode = "bridge",
                             .mac = "52:54:00:00:00:09",
                             .mtu = 1300};

void make_veth() {
  run_ok("ip link add veth0 type veth peer name veth1");
  run_ok("ip link set veth0 up");
  run_ok("ip link set veth1 up");
}

// Set in the lab, whose kernels have all that is asked of them here.
bool has_full_kernel() { return std::getenv("VMRIG_FULL_KERNEL") != nullptr; }

bool has(const std::string& text, const std::string& part) {
  const bool found = text.find(part) != std::string::npos;
  if (!found) MESSAGE("missing: " << part << "\nin: " << text);
  return found;
}

}  // namespace

TEST_CASE("what a launch makes of the network is as asked for, and gone after its undoing") {
  if (const auto reason = no_network_sandbox()) SKIP_TEST(*reason);
  in_network_sandbox([] {
    const TempFolder folder;
    make_veth();
    run_ok("ip tuntap add given mode tap");
    const std::string before = network_snapshot();
    LinuxHost host;
    HostLease lease(host, folder / "journal", kOwner);
    const std::vector<HostAction> actions = {
        kBridge,
        kTap,
        JoinBridge{.device = "v1-net0", .bridge = "vbr0"},
        JoinBridge{.device = "given", .bridge = "vbr0"},
        SetAddress{"given", "10.78.0.1/30"},
        SetAddress{"veth1", "2001:db8::1/64"},
        kMacvtap,
        SetRate{.device = "v1-net0", .ingress_bit_s = 10'000'000, .egress_bit_s = 20'000'000},
        SetRate{.device = "v1-net1", .ingress_bit_s = {}, .egress_bit_s = 20'000'000}};
    for (const HostAction& action : actions) lease.apply(action);

    const std::string tap = run_ok("ip -d link show v1-net0");
    for (const char* part :
         {"fe:54:00:00:00:01", "mtu 1400", "qlen 777", "master vbr0", "UP", "type tap",
          "multi_queue", "vnet_hdr on", "persist on", "user 12345", "alias vmrig 1-1-2"}) {
      CHECK(has(tap, part));
    }
    const std::string bridge = run_ok("ip -d addr show vbr0");
    for (const char* part : {"10.77.0.1/24", "mtu 1400", "stp_state 0", "UP", "alias vmrig"}) {
      CHECK(has(bridge, part));
    }
    const std::string macvtap = run_ok("ip -d link show v1-net1");
    for (const char* part : {"52:54:00:00:00:09", "mtu 1300", "macvtap mode bridge", "@veth0"}) {
      CHECK(has(macvtap, part));
    }
    CHECK(has(run_ok("ip addr show veth1"), "2001:db8::1/64"));
    CHECK(has(run_ok("tc qdisc show dev v1-net0"), "tbf"));
    CHECK(has(run_ok("tc qdisc show dev " + ifb_name("v1-net1")), "rate 20Mbit"));

    const UndoReport report = lease.undo();
    CHECK(report.complete());
    for (const UndoLine& line : report.lines) {
      CHECK_MESSAGE(line.result == UndoLine::Result::kPutBack, line.text);
    }
    CHECK(network_snapshot() == before);
  });
}

TEST_CASE("facts tell what taps, bridges and macvtaps are") {
  if (const auto reason = no_network_sandbox()) SKIP_TEST(*reason);
  in_network_sandbox([] {
    make_veth();
    LinuxNet net;
    net.create_bridge(kBridge, "vmrig");
    net.create_tap(kTap, "vmrig 1");
    net.join_bridge({.device = "v1-net0", .bridge = "vbr0"});
    net.create_macvtap(kMacvtap, "vmrig 2");
    const auto root = FolderReader::open("/");
    REQUIRE(root);
    std::vector<PciDeviceFacts> no_pci;
    HostFacts facts;
    facts.net = read_net_devices(*root, no_pci);
    add_net_links(read_net_links(), facts.net);
    const NetDeviceFacts* bridge = facts.find_net("vbr0");
    const NetDeviceFacts* tap = facts.find_net("v1-net0");
    const NetDeviceFacts* macvtap = facts.find_net("v1-net1");
    const NetDeviceFacts* veth = facts.find_net("veth0");
    REQUIRE((bridge && tap && macvtap && veth));
    CHECK(bridge->link_kind == "bridge");
    CHECK(bridge->addresses == std::vector<std::string>{"10.77.0.1/24"});
    CHECK(bridge->made_by_vmrig);
    CHECK(tap->kind == "tap");
    CHECK(tap->master == "vbr0");
    CHECK(tap->multi_queue);
    CHECK(tap->vnet_hdr);
    CHECK(tap->owner_uid == 12345U);
    CHECK(macvtap->kind == "macvtap");
    CHECK(macvtap->lower == "veth0");
    CHECK(macvtap->mode == "bridge");
    CHECK(veth->lower.empty());
    CHECK_FALSE(veth->made_by_vmrig);
  });
}

TEST_CASE("a bridge keeps its MAC when ports come and go") {
  if (const auto reason = no_network_sandbox()) SKIP_TEST(*reason);
  in_network_sandbox([] {
    LinuxNet net;
    net.create_bridge({.name = "vbr0"}, "vmrig");
    const std::string mac = net.link("vbr0")->mac;
    net.create_tap({.name = "t0", .mac = "00:00:5e:00:53:01"}, "vmrig t");
    net.join_bridge({.device = "t0", .bridge = "vbr0"});
    CHECK(net.link("vbr0")->mac == mac);
    CHECK(net.link_users(*net.link("vbr0")) == std::vector<std::string>{"t0"});
  });
}

TEST_CASE("what can't be made is refused with its reason, and leaves nothing") {
  if (const auto reason = no_network_sandbox()) SKIP_TEST(*reason);
  in_network_sandbox([] {
    run_ok("ip link add veth0 type veth peer name veth1");
    run_ok("ip link add other type veth peer name other1");
    run_ok("ip link set other up");
    const std::string before = network_snapshot();
    LinuxNet net;
    const std::string mark = "vmrig 1";
    CHECK_THROWS_WITH_AS(net.create_macvtap(kMacvtap, mark), doctest::Contains("veth0 is down"),
                         Error);
    CreateMacvtap macvtap = kMacvtap;
    macvtap.parent = "absent";
    CHECK_THROWS_WITH_AS(net.create_macvtap(macvtap, mark),
                         doctest::Contains("no such network device"), Error);
    CHECK_THROWS_WITH_AS(net.create_tap({.name = "other"}, mark),
                         doctest::Contains("network device of this name"), Error);
    CHECK_THROWS_WITH_AS(net.create_bridge({.name = "other"}, mark),
                         doctest::Contains("is no bridge"), Error);
    CHECK_THROWS_WITH_AS(net.join_bridge({.device = "other", .bridge = "veth0"}),
                         doctest::Contains("veth0 is no Linux bridge"), Error);
    CHECK_THROWS_AS(net.create_bridge({.name = "vbr0", .address = "10.0.0.300/24"}, mark), Error);
    CHECK_THROWS_AS(net.create_tap({.name = "t0", .mtu = 10}, mark), Error);
    CHECK_THROWS_AS(net.set_rate({.device = "absent", .ingress_bit_s = 1'000'000}, mark), Error);
    CHECK(network_snapshot() == before);
  });
}

TEST_CASE("VLAN filtering and VLAN devices work, or say what this kernel lacks") {
  if (const auto reason = no_network_sandbox()) SKIP_TEST(*reason);
  in_network_sandbox([] {
    make_veth();
    const std::string before = network_snapshot();
    LinuxNet net;
    bool filters = true;
    try {
      net.create_bridge({.name = "vbr0", .vlan_filtering = true}, "vmrig");
    } catch (const Error& error) {
      filters = false;
      CHECK_FALSE(has_full_kernel());
      CHECK(has(error.what(), "CONFIG_BRIDGE_VLAN_FILTERING"));
      CHECK(network_snapshot() == before);
    }
    if (filters) {
      net.create_tap({.name = "t0"}, "vmrig t");
      net.join_bridge({.device = "t0", .bridge = "vbr0", .vlan = 7, .trunk = {9}});
      CHECK(net.port("t0")->vlans == std::vector<PortVlan>{{7, true, true}, {9, false, false}});
      net.restore_port("t0", {.master = "vbr0", .vlans = {{1, true, true}}});
      CHECK(net.port("t0")->vlans == std::vector<PortVlan>{{1, true, true}});
    }
    try {
      net.create_vlan({.name = "veth0.7", .parent = "veth0", .vlan = 7}, "vmrig");
      CHECK(net.link("veth0.7")->vlan_id == 7);
      CHECK(net.link("veth0.7")->lower == "veth0");
    } catch (const Error& error) {
      CHECK_FALSE(has_full_kernel());
      CHECK(has(error.what(), "this kernel has no VLAN devices"));
    }
  });
}

TEST_CASE("without VLAN filtering a bridge refuses VLANs of a port before it joins") {
  if (const auto reason = no_network_sandbox()) SKIP_TEST(*reason);
  in_network_sandbox([] {
    LinuxNet net;
    net.create_bridge({.name = "vbr0"}, "vmrig");
    net.create_tap({.name = "t0"}, "vmrig t");
    CHECK_THROWS_WITH_AS(net.join_bridge({.device = "t0", .bridge = "vbr0", .vlan = 7}),
                         doctest::Contains("does not filter VLANs"), Error);
    CHECK(net.port("t0")->master.empty());
  });
}

TEST_CASE("a passthru macvtap gives its parent the MAC, and back when it goes") {
  if (const auto reason = no_network_sandbox()) SKIP_TEST(*reason);
  in_network_sandbox([] {
    make_veth();
    const std::string before = network_snapshot();
    LinuxNet net;
    CreateMacvtap action = kMacvtap;
    action.mode = "passthru";
    net.create_macvtap(action, "vmrig 1");
    CHECK(net.link("v1-net1")->mode == "passthru");
    CHECK(net.link("v1-net1")->mac == action.mac);
    action.name = "second";
    CHECK_THROWS_AS(net.create_macvtap(action, "vmrig 2"), Error);
    CHECK_FALSE(net.link("second"));
    net.remove_link(*net.link("v1-net1"));
    CHECK(network_snapshot() == before);
  });
}

TEST_CASE("queues of taps and macvtaps open as often as asked, and say why not") {
  if (const auto reason = no_network_sandbox()) SKIP_TEST(*reason);
  in_network_sandbox([] {
    const TempFolder folder;
    make_veth();
    LinuxNet net;
    net.create_tap(kTap, "vmrig 1");
    net.create_tap({.name = "single"}, "vmrig 2");
    net.create_macvtap(kMacvtap, "vmrig 3");
    {
      const std::vector<Fd> queues = open_tap_queues("v1-net0", 4);
      CHECK(queues.size() == 4);
      CHECK(has(run_ok("cat /sys/class/net/v1-net0/carrier"), "1"));
      CHECK(open_tap_queues("single", 1).size() == 1);
      CHECK_THROWS_WITH_AS(open_tap_queues("single", 2), doctest::Contains("one queue"), Error);
      CHECK_THROWS_WITH_AS(open_tap_queues("veth0", 1), doctest::Contains("no tap"), Error);
      CHECK_THROWS_WITH_AS(open_tap_queues("absent", 1), doctest::Contains("no such"), Error);
    }
    const std::vector<Fd> held = open_tap_queues("single", 1);
    CHECK_THROWS_WITH_AS(open_tap_queues("single", 1), doctest::Contains("has it open"), Error);
    CHECK(open_macvtap_queues("v1-net1", 3, folder.path()).size() == 3);
    CHECK(run_ok("ls -A " + folder.path()).empty());
    CHECK_THROWS_WITH_AS(open_macvtap_queues("veth0", 1, folder.path()),
                         doctest::Contains("no macvtap"), Error);
    try {
      const std::vector<Fd> vhost = open_vhost_net(2);
      CHECK(vhost.size() == 2);
    } catch (const Error& error) {
      CHECK_FALSE(has_full_kernel());
      CHECK(has(error.what(), "vhost_net"));
    }
  });
}

TEST_CASE("a changed rate replaces the one before, and none in a direction takes it away") {
  if (const auto reason = no_network_sandbox()) SKIP_TEST(*reason);
  in_network_sandbox([] {
    LinuxNet net;
    net.create_tap({.name = "t0"}, "vmrig 1");
    const std::string before = network_snapshot();
    net.set_rate({.device = "t0", .ingress_bit_s = 10'000'000, .egress_bit_s = 10'000'000},
                 "vmrig 1");
    CHECK(net.rate("t0").foreign_root.empty());
    net.set_rate({.device = "t0", .ingress_bit_s = 5'000'000'000}, "vmrig 1");
    CHECK(has(run_ok("tc qdisc show dev t0"), "rate 5Gbit"));
    CHECK_FALSE(net.link(ifb_name("t0")));
    net.remove_rate("t0", "vmrig 1");
    CHECK_FALSE(net.rate("t0").ours);
    CHECK(network_snapshot() == before);
    run_ok("tc qdisc add dev t0 root handle 1: htb");
    CHECK(net.rate("t0").foreign_root == "htb");
  });
}
