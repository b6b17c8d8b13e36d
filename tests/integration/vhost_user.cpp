// vhost-user NICs behind a real switch in user space, DPDK's testpmd: it forwards between its
// vhost-user port and a tap, which is on a bridge with the peer.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

#include "hostcfg/base/fd.hpp"
#include "tests/support/nic_guest.hpp"
#include "tests/support/temp_folder.hpp"

using namespace vmrig;
using namespace vmrig::testing;

namespace {

// Where tests/lib/dpdk.sh has unpacked it; empty when it has not.
std::string testpmd_program() {
  const char* given = std::getenv("VMRIG_TESTPMD");
  const std::string program =
      given != nullptr ? given : source_folder() + "/build/dpdk/dpdk-testpmd";
  return ::access(program.c_str(), X_OK) == 0 ? program : "";
}

class Switch {
 public:
  enum class Side { kListens, kConnects };

  Switch(const VmGuard& guard, Side side, int queues)
      : side_(side), socket_(guard.folder() / "vhu.sock"), command_(request(guard, side, queues)) {
    const bool is_up = eventually(
        [&] {
          return command_.has_ended() || (::access("/sys/class/net/sw0", F_OK) == 0 &&
                                          (side == Side::kConnects || is_there()));
        },
        kCommandDeadline);
    if (!is_up || command_.has_ended()) throw std::runtime_error("testpmd: " + command_.err());
    run_ok("ip link set sw0 master swbr");
    // As it stays: the queues are open, the bridge has seen the carrier, and testpmd, which does so
    // last, has made the port promiscuous, as the bridge has by itself.
    const auto forwards = [] {
      const Json port = Json::parse(run_ok("ip -j -d link show dev sw0")).at(0);
      return read_text("/sys/class/net/sw0/brport/state") == "3\n" &&
             port.at("promiscuity").get<int>() >= 2;
    };
    if (!eventually(forwards, kCommandDeadline)) throw std::runtime_error("sw0 stays down");
  }

  // A killed one leaves its socket.
  ~Switch() {
    if (side_ == Side::kListens) ::unlink(socket_.c_str());
  }
  Switch(const Switch&) = delete;
  Switch& operator=(const Switch&) = delete;

  const std::string& socket() const { return socket_; }
  bool is_there() const { return ::access(socket_.c_str(), F_OK) == 0; }

 private:
  CommandRequest request(const VmGuard& guard, Side side, int queues) const {
    CommandRequest request =
        request_of({testpmd_program(), "--no-huge", "-m", "128", "--no-pci", "--no-telemetry",
                    "--no-shconf", "--vdev",
                    fmt::format("net_vhost0,iface={},client={},queues={}", socket_,
                                side == Side::kConnects ? 1 : 0, queues),
                    "--vdev", "net_tap0,iface=sw0,mac=fixed", "--", "--auto-start",
                    "--disable-link-check", "--total-num-mbufs=4096",
                    fmt::format("--rxq={}", queues), fmt::format("--txq={}", queues)});
    request.environment = {{"RUNTIME_DIRECTORY", guard.folder().path()}};
    request.keep_input_open = true;
    request.deadline = std::chrono::minutes(5);
    return request;
  }

  Side side_;
  std::string socket_;
  RunningCommand command_;
};

// A sandbox whose peer is on the switch's bridge.
void with_bridge(const std::function<void(VmGuard&, const Peer&)>& use) {
  in_network_sandbox([&] {
    VmGuard guard;
    const Peer peer;
    run_ok("ip link add swbr type bridge");
    run_ok("ip link set swbr up");
    run_ok("ip link set peer0 master swbr");
    use(guard, peer);
  });
}

// A socket that its owner has left behind.
void leave_socket(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  REQUIRE(path.size() < sizeof address.sun_path);
  std::memcpy(address.sun_path, path.data(), path.size());
  const Fd left(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  REQUIRE(::bind(left.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
}

bool has(const std::string& text, const std::string& part) {
  const bool found = text.find(part) != std::string::npos;
  if (!found) MESSAGE("missing: " << part << "\nin: " << text);
  return found;
}

}  // namespace

#define NEED_TESTPMD() \
  NEED_NETWORK();      \
  if (testpmd_program().empty()) SKIP_TEST("no testpmd (tests/lib/dpdk.sh unpacks it)")

TEST_CASE("a guest talks through a switch in user space that listens, and again when it restarts") {
  NEED_TESTPMD();
  with_bridge([](VmGuard& guard, const Peer& peer) {
    auto testpmd = std::make_unique<Switch>(guard, Switch::Side::kListens, 2);
    Json config = guest_config(guard, "traffic");
    config["cpu"] = {{"vcpus", 2}};
    config["nics"] = Json::array({{{"id", "net0"},
                                   {"type", "vhost-user"},
                                   {"socket", testpmd->socket()},
                                   {"queues", 2},
                                   {"rx_queue_size", 512},
                                   {"tx_queue_size", 512},
                                   {"mtu", 1400}}});
    with_guest(guard, peer, config, [&](NicGuest& vm) {
      CHECK(vm.console.run("ls -d /sys/class/net/eth0/queues/rx-* | wc -l") == "2");
      CHECK(vm.console.run("cat /sys/class/net/eth0/mtu") == "1400");
      set_address(vm);
      await_ping(vm);
      send_to_peer(vm);
      receive_from_peer(vm);
      testpmd.reset();
      CHECK(vm.console.ask("ping -c 1 -W 1 10.9.0.1").status != 0);
      testpmd = std::make_unique<Switch>(guard, Switch::Side::kListens, 2);
      await_ping(vm);
    });
  });
}

TEST_CASE("a guest talks through a switch in user space that connects to QEMU") {
  NEED_TESTPMD();
  with_bridge([](VmGuard& guard, const Peer& peer) {
    const Switch testpmd(guard, Switch::Side::kConnects, 1);
    Json config = guest_config(guard, "traffic");
    config["nics"] = Json::array({{{"id", "net0"},
                                   {"type", "vhost-user"},
                                   {"socket", testpmd.socket()},
                                   {"server", true},
                                   {"packed", true}}});
    with_guest(guard, peer, config, [&](NicGuest& vm) {
      set_address(vm);
      await_ping(vm);
      send_to_peer(vm);
      receive_from_peer(vm);
    });
    CHECK_FALSE(testpmd.is_there());
  });
}

TEST_CASE("a vhost-user NIC comes and goes while the VM runs, by a switch on either side") {
  NEED_TESTPMD();
  with_bridge([](VmGuard& guard, const Peer& peer) {
    Json config = guest_config(guard, "traffic");
    config["memory"]["share"] = true;
    config["security"]["user"] = "caller";  // it makes the socket for a switch that connects
    config["nics"] = Json::array({{{"id", "net0"}, {"type", "user"}}});
    with_guest(guard, peer, config, [&](NicGuest& vm) {
      const std::string socket = guard.folder() / "vhu.sock";
      Json device = {{"id", "hot0"}, {"type", "vhost-user"}, {"socket", socket}};
      const auto attach = [&] { return guard.vmrig({"attach", "traffic", "nic", device.dump()}); };
      const CommandResult missing = attach();
      CHECK(missing.status == 3);
      CHECK(has(missing.err, "no such file"));
      leave_socket(socket);
      const CommandResult refused = attach();
      CHECK(refused.status == 3);
      CHECK(has(refused.err, fmt::format("nobody listens on \"{}\"", socket)));
      CHECK(has(refused.err, "start the switch first"));
      // The VM is well, and has nothing of it.
      CHECK(guard.vmrig_json({"status", "traffic", "--json"}).at("nics").size() == 1);
      CHECK(guard.vmrig_json({"qmp", "traffic", "query-chardev"}).dump().find("hot0") ==
            std::string::npos);
      ::unlink(socket.c_str());

      for (const Switch::Side side : {Switch::Side::kListens, Switch::Side::kConnects}) {
        const std::string before = network_snapshot();
        {
          const Switch testpmd(guard, side, 1);
          device["server"] = side == Switch::Side::kConnects;
          const CommandResult attached = attach();
          REQUIRE_MESSAGE(attached.status == 0, attached.err);
          vm.console.await("test -e /sys/class/net/eth1");
          set_address(vm, "eth1");
          await_ping(vm);
          send_to_peer(vm);
          const CommandResult detached = guard.vmrig({"detach", "traffic", "hot0"});
          REQUIRE_MESSAGE(detached.status == 0, detached.err);
          CHECK(guard.vmrig_json({"qmp", "traffic", "query-chardev"}).dump().find("hot0") ==
                std::string::npos);
        }
        CHECK(::access(socket.c_str(), F_OK) < 0);
        CHECK(network_snapshot() == before);
      }
      // In the other direction it is the switch that is waited for, and the VM goes on meanwhile.
      const CommandResult alone =
          guard.vmrig({"attach", "traffic", "nic", device.dump(), "--timeout", "2"});
      CHECK(alone.status == 3);
      CHECK(has(alone.err, fmt::format("no switch has connected to \"{}\"", socket)));
      CHECK(::access(socket.c_str(), F_OK) < 0);
      vm.console.run("true");
    });
  });
}

TEST_CASE("a vhost-user NIC is refused at run time where the guest's memory is not shared") {
  VmGuard guard;
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  Json config = guard.config("private");
  config["machine"]["accel"] = "tcg";
  const CommandResult started = guard.vmrig({"start", "--paused", guard.write_config(config)});
  REQUIRE_MESSAGE(started.status == 0, started.err);
  const Json device = {
      {"id", "hot0"}, {"type", "vhost-user"}, {"socket", guard.folder() / "vhu.sock"}};
  const CommandResult refused = guard.vmrig({"attach", "private", "nic", device.dump()});
  CHECK(refused.status != 0);
  CHECK(has(refused.err, "the guest's memory is not shared"));
  CHECK(has(refused.err, "\"share\": true"));
  CHECK(guard.vmrig({"stop", "private", "--force"}).status == 0);
  CHECK(guard.nothing_left());
}
