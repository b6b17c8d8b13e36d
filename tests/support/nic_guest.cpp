#include "tests/support/nic_guest.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>

namespace vmrig::testing {
namespace {

constexpr int kBytes = 2'000'000;
constexpr int kPeerPort = 5001;
constexpr int kGuestPort = 5002;

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
peer = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=20)
peer.sendall(bytes(int(sys.argv[3])))
peer.shutdown(socket.SHUT_WR)
while data := peer.recv(65536):
    print(data.decode(), end="")
)";

CommandRequest holder_request() {
  CommandRequest request = request_of({"unshare", "--net", "sh", "-c", "echo here; exec cat"});
  request.keep_input_open = true;
  request.deadline = std::chrono::minutes(5);
  return request;
}

}  // namespace

CommandRequest request_of(std::vector<std::string> argv) {
  CommandRequest request;
  request.argv = std::move(argv);
  return request;
}

Peer::Peer() : holder_(holder_request()) {
  if (!holder_.wait_for_out("here")) throw std::runtime_error(holder_.err());
  run_ok("ip link add peer0 type veth peer name peer1");
  run_ok(fmt::format("ip link set peer1 netns {}", holder_.pid()));
  run_ok("ip link set peer0 up");
  for (const char* line :
       {"ip link set lo up", "ip addr add 10.9.0.1/24 dev peer1", "ip link set peer1 up"}) {
    run_ok(inside(line));
  }
}

std::string Peer::inside(const std::string& line) const {
  return fmt::format("nsenter -t {} -n {}", holder_.pid(), line);
}

CommandRequest Peer::inside_words(std::vector<std::string> argv) const {
  std::vector<std::string> words = {"nsenter", "-t", fmt::format("{}", holder_.pid()), "-n"};
  words.insert(words.end(), argv.begin(), argv.end());
  return request_of(std::move(words));
}

CommandRequest Peer::listener(int port) const {
  return inside_words({"python3", "-c", kListener, fmt::format("{}", port)});
}

CommandRequest Peer::caller(const char* address, int port, int bytes) const {
  return inside_words(
      {"python3", "-c", kCaller, address, fmt::format("{}", port), fmt::format("{}", bytes)});
}

void set_address(NicGuest& vm, std::string_view card) {
  // The guest's DHCP client takes the address away as it begins.
  vm.console.await(fmt::format("test -s /run/udhcpc.{}.pid", card));
  vm.console.await("killall -q udhcpc; ! pidof udhcpc udhcpc-script");
  vm.console.run(fmt::format(
      "ip addr flush dev {0}; ip addr add 10.9.0.2/24 dev {0}; ip link set {0} up", card));
}

void await_ping(NicGuest& vm, std::string_view address) {
  vm.console.await(fmt::format("ping -c 1 -W 1 {}", address));
}

void send_to_peer(NicGuest& vm) {
  RunningCommand listener(vm.peer.listener(kPeerPort));
  REQUIRE(listener.wait_for_err("listening"));
  vm.console.await(fmt::format("head -c {} /dev/zero | nc -w 20 10.9.0.1 {}", kBytes, kPeerPort));
  CHECK(listener.wait_for_out(fmt::format("{}", kBytes)));
}

void receive_from_peer(NicGuest& vm) {
  vm.console.run(fmt::format("(nc -l -p {} | wc -c >/tmp/received 2>&1 &)", kGuestPort));
  vm.console.await(fmt::format("netstat -ltn | grep -q :{}", kGuestPort));
  const CommandResult sent = run_command(vm.peer.caller("10.9.0.2", kGuestPort, kBytes));
  CHECK_MESSAGE(sent.status == 0, sent.err);
  vm.console.await(fmt::format("cat /tmp/received; grep -q '^{}$' /tmp/received", kBytes));
}

void with_guest(VmGuard& guard, const Peer& peer, const Json& config,
                const std::function<void(NicGuest&)>& use) {
  const std::string before = network_snapshot();
  const CommandResult started =
      guard.vmrig({"start", guard.write_config(config), "--wait", kGuestGreeting});
  REQUIRE_MESSAGE(started.status == 0, started.err);
  {
    GuestConsole console(guard.state_dir() + "/traffic/console.sock");
    console.await("test -e /sys/class/net/eth0");
    NicGuest running{guard, console, peer};
    use(running);
  }
  const CommandResult stopped = guard.vmrig({"stop", "traffic", "--force"});
  CHECK_MESSAGE(stopped.status == 0, stopped.err);
  CHECK(guard.nothing_left());
  CHECK(network_snapshot() == before);
}

void with_guest(const Json& nic, const std::function<void(NicGuest&)>& use) {
  in_network_sandbox([&] {
    VmGuard guard;
    const Peer peer;
    Json config = guest_config(guard, "traffic");
    config["nics"] = Json::array({nic});
    with_guest(guard, peer, config, use);
  });
}

}  // namespace vmrig::testing
