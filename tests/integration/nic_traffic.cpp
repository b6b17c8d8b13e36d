// NICs as a guest uses them: it pings and moves TCP with a peer in another network namespace, and
// nothing is left on the host afterwards.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <unistd.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

#include "tests/support/guest.hpp"
#include "tests/support/guest_console.hpp"
#include "tests/support/network_sandbox.hpp"
#include "tests/support/skip.hpp"
#include "tests/support/vm_guard.hpp"

using namespace vmrig;
using namespace vmrig::testing;

namespace {

constexpr int kBytes = 2'000'000;

CommandRequest request_of(std::vector<std::string> argv) {
  CommandRequest request;
  request.argv = std::move(argv);
  return request;
}

CommandRequest holder_request() {
  CommandRequest request = request_of({"unshare", "--net", "sh", "-c", "echo here; exec cat"});
  request.keep_input_open = true;
  request.deadline = std::chrono::minutes(5);
  return request;
}

constexpr const char* kListener = R"(
import socket, sys
server = socket.create_server(("", int(sys.argv[1])))
print("listening", file=sys.stderr, flush=True)
peer, _ = server.accept()
count = 0
while data := peer.recv(65536):
    count += len(data)
print(count, flush=True)
)";

constexpr const char* kCaller = R"(
import socket, sys
peer = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10)
peer.shutdown(socket.SHUT_WR)
while data := peer.recv(65536):
    print(data.decode(), end="")
)";

// A namespace with one end of a veth pair, 10.9.0.1/24; the other end, peer0, is here.
class Peer {
 public:
  Peer() : holder_(holder_request()) {
    if (!holder_.wait_for_out("here")) throw std::runtime_error(holder_.err());
    run_ok("ip link add peer0 type veth peer name peer1");
    run_ok(fmt::format("ip link set peer1 netns {}", holder_.pid()));
    run_ok("ip link set peer0 up");
    for (const char* line :
         {"ip link set lo up", "ip addr add 10.9.0.1/24 dev peer1", "ip link set peer1 up"}) {
      run_ok(inside(line));
    }
  }

  std::string inside(const std::string& line) const {
    return fmt::format("nsenter -t {} -n {}", holder_.pid(), line);
  }

  // The bytes that this port sends, until it closes.
  CommandRequest caller(const char* address, int port) const {
    return inside_words({"python3", "-c", kCaller, address, fmt::format("{}", port)});
  }

  // Takes one connection, and tells how many bytes came.
  CommandRequest listener(int port) const {
    return inside_words({"python3", "-c", kListener, fmt::format("{}", port)});
  }

 private:
  CommandRequest inside_words(std::vector<std::string> argv) const {
    std::vector<std::string> words = {"nsenter", "-t", fmt::format("{}", holder_.pid()), "-n"};
    words.insert(words.end(), argv.begin(), argv.end());
    return request_of(std::move(words));
  }

  RunningCommand holder_;
};

struct Running {
  VmGuard& guard;
  GuestConsole& console;
  const Peer& peer;
};

void send_to_peer(Running& vm) {
  RunningCommand listener(vm.peer.listener(5001));
  REQUIRE(listener.wait_for_err("listening"));
  vm.console.await(fmt::format("head -c {} /dev/zero | nc -w 20 10.9.0.1 5001", kBytes));
  CHECK(listener.wait_for_out(fmt::format("{}", kBytes)));
}

// Boots a guest with the NIC in a namespace of its own. `use` is called when it is up.
void with_guest(const Json& nic, const std::function<void(Running&)>& use) {
  in_network_sandbox([&] {
    VmGuard guard;
    const Peer peer;
    const std::string before = network_snapshot();
    Json config = guest_config(guard, "traffic");
    config["nics"] = Json::array({nic});
    const CommandResult started =
        guard.vmrig({"start", guard.write_config(config), "--wait", kGuestGreeting});
    REQUIRE_MESSAGE(started.status == 0, started.err);
    {
      GuestConsole console(guard.state_dir() + "/traffic/console.sock");
      console.await("test -e /sys/class/net/eth0");
      Running running{guard, console, peer};
      use(running);
    }
    const CommandResult stopped = guard.vmrig({"stop", "traffic", "--force"});
    CHECK_MESSAGE(stopped.status == 0, stopped.err);
    CHECK(guard.nothing_left());
    CHECK(network_snapshot() == before);
  });
}

void set_address(Running& vm) {
  vm.console.run(
      "killall udhcpc; ip addr flush dev eth0; ip addr add 10.9.0.2/24 dev eth0; "
      "ip link set eth0 up");
}

}  // namespace

#define NEED_NETWORK() \
  NEED_GUEST();        \
  if (const auto lack = no_network_sandbox()) SKIP_TEST(*lack)

TEST_CASE("a guest behind a tap on a bridge that vmrig makes talks to who is on that bridge") {
  NEED_NETWORK();
  const Json nic = {{"id", "net0"},
                    {"type", "tap"},
                    {"bridge", {{"name", "vbr0"}, {"create", true}, {"address", "10.9.0.9/24"}}},
                    {"mtu", 1400}};
  with_guest(nic, [](Running& vm) {
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
  with_guest(nic, [](Running& vm) {
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
      Running running{guard, console, peer};
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
  with_guest(nic, [](Running& vm) {
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
