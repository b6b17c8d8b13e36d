// NICs as a guest uses them: it pings and moves TCP with a peer in another network namespace, and
// nothing is left on the host afterwards.
#include <doctest/doctest.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <string>

#include "tests/support/nic_guest.hpp"

using namespace vmrig;
using namespace vmrig::testing;

TEST_CASE("a guest behind a tap on a bridge that vmrig makes talks to who is on that bridge") {
  NEED_NETWORK();
  const Json nic = {{"id", "net0"},
                    {"type", "tap"},
                    {"bridge", {{"name", "vbr0"}, {"create", true}, {"address", "10.9.0.9/24"}}},
                    {"mtu", 1400}};
  with_guest(nic, [](NicGuest& vm) {
    run_ok("ip link set peer0 master vbr0");
    set_address(vm);
    vm.console.await("ping -c 1 -W 1 10.9.0.1");
    vm.console.run("ping -c 1 -W 5 10.9.0.9");
    CHECK(vm.console.run("cat /sys/class/net/eth0/mtu") == "1400");
    send_to_peer(vm);
    const Json status = vm.guard.vmrig_json({"status", "traffic", "--json"});
    CHECK(status.at("nics").at(0).at("interface") == "traffic-net0");
    // A down link carries nothing; up again, it does.
    CHECK(vm.guard.vmrig({"set", "traffic", "link.net0=down"}).status == 0);
    vm.console.await("test \"$(cat /sys/class/net/eth0/carrier)\" = 0");
    CHECK(vm.guard.vmrig({"set", "traffic", "link.net0=up"}).status == 0);
    vm.console.await("ping -c 1 -W 1 10.9.0.1");
    run_ok("ip link set peer0 nomaster");
  });
}

TEST_CASE("a guest behind a routed tap with several queues reaches its host's end") {
  NEED_NETWORK();
  in_network_sandbox([] {
    VmGuard guard;
    const std::string before = network_snapshot();
    Json config = guest_config(guard, "queues");
    config["cpu"] = {{"vcpus", 2}};
    config["nics"] = Json::array({{{"id", "net0"},
                                   {"type", "tap"},
                                   {"address", "10.9.0.9/24"},
                                   {"queues", 2},
                                   {"link", "down"}}});
    const CommandResult started =
        guard.vmrig({"start", guard.write_config(config), "--wait", kGuestGreeting});
    REQUIRE_MESSAGE(started.status == 0, started.err);
    GuestConsole console(guard.state_dir() + "/queues/console.sock");
    console.await("test -e /sys/class/net/eth0/queues/rx-1");
    console.run("ip link set eth0 up; ip addr add 10.9.0.2/24 dev eth0");
    CHECK(console.run("cat /sys/class/net/eth0/carrier") == "0");
    CHECK(guard.vmrig({"set", "queues", "link.net0=up"}).status == 0);
    console.await("ping -c 1 -W 1 10.9.0.9");
    CHECK(guard.vmrig({"stop", "queues", "--force"}).status == 0);
    CHECK(guard.nothing_left());
    CHECK(network_snapshot() == before);
  });
}

TEST_CASE("a guest behind a macvtap talks to who is behind its parent") {
  NEED_NETWORK();
  const Json nic = {{"id", "net0"}, {"type", "macvtap"}, {"parent", "peer0"}};
  with_guest(nic, [](NicGuest& vm) {
    set_address(vm);
    vm.console.await("ping -c 1 -W 1 10.9.0.1");
    send_to_peer(vm);
  });
}

TEST_CASE("a guest behind user networking and behind passt reaches what the host reaches") {
  NEED_NETWORK();
  for (const char* type : {"user", "passt"}) {
    CAPTURE(std::string(type));
    if (std::string(type) == "passt" && ::access("/usr/bin/passt", X_OK) < 0) {
      SKIP_TEST("no passt");
    }
    in_network_sandbox([type] {
      VmGuard guard;
      const Peer peer;
      run_ok("ip addr add 10.9.0.254/24 dev peer0");
      // Not the peer: what goes to the gateway, passt takes to the host itself.
      run_ok("ip route add default via 10.9.0.3");
      const std::string before = network_snapshot();
      Json config = guest_config(guard, "traffic");
      config["nics"] =
          Json::array({{{"id", "net0"}, {"type", type}, {"forward", {"tcp:10.9.0.254:5022-:22"}}}});
      const CommandResult started =
          guard.vmrig({"start", guard.write_config(config), "--wait", kGuestGreeting});
      REQUIRE_MESSAGE(started.status == 0, started.err);
      GuestConsole console(guard.state_dir() + "/traffic/console.sock");
      console.await("ip -4 addr show dev eth0 | grep -q inet");
      NicGuest running{guard, console, peer};
      send_to_peer(running);
      console.run("(echo hello | nc -l -p 22 >/dev/null 2>&1 &)");
      console.await("netstat -ltn | grep -q :22");
      const CommandResult greeted = run_command(peer.caller("10.9.0.254", 5022));
      CHECK(greeted.out == "hello\n");
      CHECK(guard.vmrig({"stop", "traffic", "--force"}).status == 0);
      CHECK(guard.nothing_left());
      CHECK(network_snapshot() == before);
    });
  }
}

TEST_CASE("a tap comes and goes while the VM runs, with all that the host has of it") {
  NEED_NETWORK();
  const Json nic = {{"id", "net0"}, {"type", "user"}};
  with_guest(nic, [](NicGuest& vm) {
    const std::string before = network_snapshot();
    const std::string device =
        R"({"id": "hot0", "type": "tap", "bridge": {"name": "vbr0", "create": true},
            "rate": {"ingress": "50Mbit"}})";
    const CommandResult attached = vm.guard.vmrig({"attach", "traffic", "nic", device});
    REQUIRE_MESSAGE(attached.status == 0, attached.err);
    run_ok("ip link set peer0 master vbr0");
    vm.console.await("test -e /sys/class/net/eth1");
    // The guest's DHCP client takes the address away as it begins.
    vm.console.await(
        "ip link set eth1 up; ip addr add 10.9.0.2/24 dev eth1 2>&1; ping -c 1 -W 1 10.9.0.1");
    run_ok("ip link set peer0 nomaster");
    const CommandResult detached = vm.guard.vmrig({"detach", "traffic", "hot0"});
    REQUIRE_MESSAGE(detached.status == 0, detached.err);
    CHECK(network_snapshot() == before);
    // One that QEMU or the host refuses leaves nothing either.
    const CommandResult refused = vm.guard.vmrig(
        {"attach", "traffic", "nic", R"({"id": "x", "type": "macvtap", "parent": "nosuch"})"});
    CHECK(refused.status == 3);
    CHECK(network_snapshot() == before);
  });
}

TEST_CASE(
    "a macvtap and a passt come and go while the VM runs, with all that the host has of them") {
  NEED_NETWORK();
  if (::access("/usr/bin/passt", X_OK) < 0) SKIP_TEST("no passt");
  in_network_sandbox([] {
    VmGuard guard;
    const Peer peer;
    run_ok("ip addr add 10.9.0.254/24 dev peer0");
    // Not the peer: what goes to the gateway, passt takes to the host itself.
    run_ok("ip route add default via 10.9.0.3");
    Json config = guest_config(guard, "traffic");
    config["nics"] = Json::array({{{"id", "net0"}, {"type", "none"}}});
    with_guest(guard, peer, config, [](NicGuest& vm) {
      const std::string before = network_snapshot();
      const std::size_t processes = vm.guard.processes().size();
      const auto attach = [&](const Json& device) {
        const CommandResult attached = vm.guard.vmrig({"attach", "traffic", "nic", device.dump()});
        REQUIRE_MESSAGE(attached.status == 0, attached.err);
        vm.console.await("test -e /sys/class/net/eth1");
      };
      const auto detach = [&] {
        const CommandResult detached = vm.guard.vmrig({"detach", "traffic", "hot0"});
        REQUIRE_MESSAGE(detached.status == 0, detached.err);
        CHECK(network_snapshot() == before);
        CHECK(eventually([&] { return vm.guard.processes().size() == processes; }));
        CHECK(vm.guard.vmrig_json({"status", "traffic", "--json"}).at("nics").size() == 1);
      };

      attach({{"id", "hot0"}, {"type", "macvtap"}, {"parent", "peer0"}});
      CHECK(run_ok("ip -d link show traffic-hot0").find("macvtap mode bridge") !=
            std::string::npos);
      set_address(vm, "eth1");
      await_ping(vm);
      detach();

      attach({{"id", "hot0"}, {"type", "passt"}});
      CHECK(vm.guard.processes().size() == processes + 1);
      vm.console.await("ip -4 addr show dev eth1 | grep -q inet");
      send_to_peer(vm);
      detach();

      // What passt does not take is told in its words, and leaves nothing.
      const CommandResult refused = vm.guard.vmrig(
          {"attach", "traffic", "nic",
           R"({"id": "hot0", "type": "passt", "forward": ["tcp:192.0.2.99:5022-:22"]})"});
      CHECK(refused.status == 3);
      CHECK_MESSAGE(refused.err.find("passt") != std::string::npos, refused.err);
      CHECK(eventually([&] { return vm.guard.processes().size() == processes; }));
    });
  });
}
