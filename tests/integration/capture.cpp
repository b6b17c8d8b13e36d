// Packets of a NIC as `vmrig capture` writes them: from QEMU, and from devices of the host.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "hostcfg/base/error.hpp"
#include "hostcfg/packet_capture.hpp"
#include "hostcfg/pcap_file.hpp"
#include "tests/support/guest.hpp"
#include "tests/support/guest_console.hpp"
#include "tests/support/network_sandbox.hpp"
#include "tests/support/skip.hpp"
#include "tests/support/vm_guard.hpp"

namespace {

using namespace vmrig;
using namespace vmrig::testing;
using namespace std::string_literals;

struct Packet {
  std::string data;
  std::uint32_t original_bytes = 0;
  std::int64_t time_ns = 0;
};

std::int64_t now_ns() {
  return std::chrono::nanoseconds(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::vector<Packet> packets_in(const std::string& file) {
  std::vector<Packet> packets;
  PcapStream stream;
  stream.feed(file);
  while (const auto packet = stream.next()) {
    packets.push_back({.data = std::string(packet->data),
                       .original_bytes = packet->original_bytes,
                       .time_ns = packet->time_ns});
  }
  return packets;
}

std::string frame(const std::string& kind, std::size_t bytes) {
  std::string frame(6, '\xff');
  frame += "\x52\x54\x00\x00\x00\x01"s + kind;
  frame.resize(bytes, 'p');
  return frame;
}

void send_frame(const std::string& device, const std::string& frame) {
  const Fd socket(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  sockaddr_ll to{};
  to.sll_family = AF_PACKET;
  to.sll_ifindex = static_cast<int>(::if_nametoindex(device.c_str()));
  if (::sendto(socket.get(), frame.data(), frame.size(), 0, reinterpret_cast<sockaddr*>(&to),
               sizeof to) != static_cast<ssize_t>(frame.size())) {
    throw std::runtime_error("cannot send on " + device);
  }
}

// The next packet of `kind` (the two bytes behind the addresses); others come by themselves.
Packet next_of(PacketCapture& capture, const std::string& kind) {
  for (;;) {
    while (const auto packet = capture.next()) {
      if (packet->data.substr(12, 2) != kind) continue;
      return {.data = std::string(packet->data),
              .original_bytes = packet->original_bytes,
              .time_ns = packet->time_ns};
    }
    pollfd waiting{.fd = capture.fd(), .events = POLLIN, .revents = 0};
    if (::poll(&waiting, 1, 10'000) != 1) throw std::runtime_error("no packet came");
  }
}

constexpr const char* kKind = "\x88\xb5";     // for experiments
constexpr const char* kTagKind = "\x81\x00";  // 802.1Q; the literal ends where the second byte is

}  // namespace

TEST_CASE("packets of a network device come whole, with their length and time") {
  if (const auto reason = no_network_sandbox()) SKIP_TEST(*reason);
  in_network_sandbox([] {
    run_ok("ip link add veth0 type veth peer name veth1");
    run_ok("ip link set veth0 up");
    run_ok("ip link set veth1 up");
    PacketCapture capture("veth0", 100);
    const std::int64_t before = now_ns();

    send_frame("veth1", frame(kKind, 60));
    const Packet in = next_of(capture, kKind);
    CHECK(in.data == frame(kKind, 60));
    CHECK(in.original_bytes == 60);
    CHECK(in.time_ns >= before);
    CHECK(in.time_ns <= now_ns());

    // What goes out is seen, too; long ones are cut.
    send_frame("veth0", frame(kKind, 1000));
    const Packet out = next_of(capture, kKind);
    CHECK(out.data == frame(kKind, 100));
    CHECK(out.original_bytes == 1000);
    CHECK(capture.dropped() == 0);

    // The kernel takes VLAN tags off what it receives; the file has them.
    const std::string tag = std::string(kTagKind, 2);
    const std::string tagged = frame(tag + "\x20\x05"s + kKind, 64);
    send_frame("veth1", tagged);
    const Packet with_tag = next_of(capture, tag);
    CHECK(with_tag.data == tagged);
    CHECK(with_tag.original_bytes == 64);

    run_ok("ip link set veth0 down");
    run_ok("ip link set veth0 up");
    send_frame("veth1", frame(kKind, 61));
    CHECK(next_of(capture, kKind).original_bytes == 61);
    CHECK_FALSE(capture.is_gone());
    run_ok("ip link del veth0");
    while (capture.next()) {
    }
    CHECK(capture.is_gone());
  });
}

TEST_CASE("a network device that is not there can't be captured on") {
  CHECK_THROWS_WITH_AS(PacketCapture("vmrig-none", 100), doctest::Contains("No such device"),
                       Error);
}

TEST_CASE("capture refuses what it can't do, and leaves no file then") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  VmGuard guard;
  Json config = guard.config("capture");
  config["nics"] = Json::array({{{"id", "net0"}}});
  REQUIRE(guard.vmrig({"start", guard.write_config(config)}).status == 0);
  const std::string file = guard.folder() / "out.pcap";

  struct Refusal {
    std::vector<std::string> words;
    int status;
    std::string text;
  };
  const std::vector<Refusal> refusals = {
      {{"capture", "capture", "net0"}, 2, "-w is missing"},
      {{"capture", "capture", "net1", "-w", file}, 2, "did you mean \"net0\"?"},
      {{"capture", "nobody", "net0", "-w", file}, 5, "nobody"},
      {{"capture", "capture", "net0", "-w", file, "--count", "0"}, 2, "--count"},
      {{"capture", "capture", "net0", "-w", file, "--snaplen", "262145"}, 2, "262144"},
      {{"capture", "capture", "net0", "-w", guard.folder() / "no/such"}, 1, "No such file"}};
  for (const Refusal& refusal : refusals) {
    const CommandResult result = guard.vmrig(refusal.words);
    CHECK_MESSAGE(result.status == refusal.status, result.err);
    CHECK_MESSAGE(result.err.find(refusal.text) != std::string::npos, result.err);
    CHECK(read_text(file).empty());
  }

  write_text(file, "precious");
  CHECK(guard.vmrig({"capture", "capture", "net0", "-w", file, "--seconds", "0"}).status == 2);
  CHECK(read_text(file) == "precious");
  const CommandResult forced =
      guard.vmrig({"capture", "capture", "net0", "-w", file, "--seconds", "0", "--force"});
  CHECK_MESSAGE(forced.status == 0, forced.err);
  CHECK(read_text(file) == pcap_header(kMaxSnaplen));
  CHECK(guard.vmrig({"stop", "capture", "--force"}).status == 0);
  CHECK(guard.nothing_left());
}

namespace {

// QEMU's filters by vmrig.
std::size_t filters(const VmGuard& guard) {
  const Json objects = guard.vmrig_json({"qmp", "capture", "qom-list", R"({"path": "/objects"})"});
  std::size_t count = 0;
  for (const Json& object : objects) {
    if (object.at("type") == "child<filter-dump>") ++count;
  }
  return count;
}

}  // namespace

TEST_CASE("a user NIC's packets come from QEMU, and no capture leaves its filter behind") {
  NEED_GUEST();
  VmGuard guard;
  Json config = guest_config(guard, "capture");
  config["nics"] = Json::array({{{"id", "net0"}, {"mac", "52:54:00:00:00:07"}}});
  const std::string file = guard.folder() / "out.pcap";
  const CommandResult started =
      guard.vmrig({"start", guard.write_config(config), "--wait", kGuestGreeting});
  REQUIRE_MESSAGE(started.status == 0, started.err);
  GuestConsole console(guard.state_dir() + "/capture/console.sock");
  console.await("ip -4 addr | grep 10.0.2.");

  const std::int64_t before = now_ns();
  RunningCommand first(
      guard.request({"capture", "capture", "net0", "-w", file, "--snaplen", "64"}));
  REQUIRE(first.wait_for_err("capturing"));
  RunningCommand killed(guard.request({"capture", "capture", "net0", "-w", file + "2"}));
  REQUIRE(killed.wait_for_err("capturing"));
  CHECK(filters(guard) == 2);
  killed.send_signal(SIGKILL);
  CHECK(eventually([&] { return filters(guard) == 1; }));

  RunningCommand piped(guard.request({"capture", "capture", "net0", "-w", "-", "--count", "2"}));
  REQUIRE(piped.wait_for_err("capturing"));
  console.run("ping -c 2 -s 300 10.0.2.2");
  CHECK(piped.wait().status == 0);
  CHECK(packets_in(piped.out()).size() == 2);
  CHECK(piped.err().find("2 packets captured") != std::string::npos);
  CHECK(eventually([&] { return filters(guard) == 1; }));

  // Paused, QEMU keeps fds that it was handed: the end has to come all the same.
  CHECK(guard.vmrig({"pause", "capture"}).status == 0);
  first.send_signal(SIGINT);
  CHECK_MESSAGE(first.wait().status == 0, first.err());
  CHECK(filters(guard) == 0);
  struct stat status {};
  REQUIRE(::stat(file.c_str(), &status) == 0);
  CHECK((status.st_mode & 07777) == 0600);
  std::size_t echoes = 0;
  for (const Packet& packet : packets_in(read_text(file))) {
    CHECK(packet.data.size() <= 64);
    CHECK(packet.time_ns >= before);
    CHECK(packet.time_ns <= now_ns());
    if (packet.original_bytes == 300 + 42) ++echoes;  // Ethernet, IPv4 and ICMP headers
  }
  CHECK(echoes == 4);  // two each way

  // The VM's end is the capture's.
  CHECK(guard.vmrig({"resume", "capture"}).status == 0);
  RunningCommand last(guard.request({"capture", "capture", "net0", "-w", file, "--force"}));
  REQUIRE(last.wait_for_err("capturing"));
  CHECK(guard.vmrig({"stop", "capture", "--force"}).status == 0);
  CHECK(last.wait().status == 0);
  CHECK(last.err().find("the VM has ended") != std::string::npos);
  CHECK(guard.nothing_left());
}
