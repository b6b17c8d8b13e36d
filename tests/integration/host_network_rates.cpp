// Rate limits, measured with packets through the fds that a guest's would go through.
#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <linux/if_ether.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <cstring>
#include <string>
#include <vector>

#include "hostcfg/link.hpp"
#include "hostcfg/net_control.hpp"
#include "hostcfg/net_fds.hpp"
#include "tests/support/network_sandbox.hpp"
#include "tests/support/skip.hpp"
#include "tests/support/temp_folder.hpp"

using namespace vmrig;
using namespace vmrig::testing;

namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

constexpr const char* kHost = "10.79.0.1";
constexpr const char* kGuest = "10.79.0.2";
constexpr const char* kGuestMac = "52:54:00:00:00:02";
constexpr std::uint16_t kPort = 9999;
constexpr std::size_t kPayload = 1200;
constexpr std::size_t kVnetHeader = 10;  // struct virtio_net_hdr, as IFF_VNET_HDR has it
constexpr std::size_t kFrame = ETH_HLEN + sizeof(iphdr) + sizeof(udphdr) + kPayload;
constexpr double kOffered = 50e6;  // bit/s
constexpr double kTolerance = 0.15;
// The bucket's first filling and the queue are behind after a moment.
constexpr Seconds kSettle{0.5};
constexpr Seconds kMeasure{1.5};

in_addr address_of(const char* text) {
  in_addr address{};
  ::inet_pton(AF_INET, text, &address);
  return address;
}

std::uint16_t ip_checksum(const iphdr& header) {
  std::array<std::uint16_t, sizeof(iphdr) / 2> words{};
  std::memcpy(words.data(), &header, sizeof header);
  std::uint32_t sum = 0;
  for (const std::uint16_t word : words) sum += word;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

// A datagram of the guest's to the host, with its virtio header.
std::vector<char> guest_frame(const MacAddress& to) {
  std::vector<char> frame(kVnetHeader + kFrame);
  ethhdr ether{};
  std::copy(to.begin(), to.end(), std::begin(ether.h_dest));
  const MacAddress from = parse_mac(kGuestMac);
  std::copy(from.begin(), from.end(), std::begin(ether.h_source));
  ether.h_proto = htons(ETH_P_IP);
  iphdr ip{};
  ip.version = 4;
  ip.ihl = 5;
  ip.tot_len = htons(static_cast<std::uint16_t>(kFrame - ETH_HLEN));
  ip.ttl = 64;
  ip.protocol = IPPROTO_UDP;
  ip.saddr = address_of(kGuest).s_addr;
  ip.daddr = address_of(kHost).s_addr;
  ip.check = ip_checksum(ip);
  udphdr udp{};
  udp.source = htons(kPort);
  udp.dest = htons(kPort);
  udp.len = htons(static_cast<std::uint16_t>(sizeof udp + kPayload));
  char* at = frame.data() + kVnetHeader;
  std::memcpy(at, &ether, sizeof ether);
  std::memcpy(at + sizeof ether, &ip, sizeof ip);
  std::memcpy(at + sizeof ether + sizeof ip, &udp, sizeof udp);
  return frame;
}

Fd host_socket() {
  Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_in own{};
  own.sin_family = AF_INET;
  own.sin_port = htons(kPort);
  own.sin_addr = address_of(kHost);
  CHECK(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&own), sizeof own) == 0);
  return socket;
}

void send_to_guest(const Fd& socket) {
  static const std::array<char, kPayload> payload{};
  sockaddr_in guest{};
  guest.sin_family = AF_INET;
  guest.sin_port = htons(kPort);
  guest.sin_addr = address_of(kGuest);
  (void)::sendto(socket.get(), payload.data(), payload.size(), 0,
                 reinterpret_cast<const sockaddr*>(&guest), sizeof guest);
}

// How many bit/s of frames come out of `from` while kOffered goes in by `send_one`.
template <typename Send>
double measure(const Fd& from, std::size_t received_size, const Send& send_one) {
  const Clock::time_point begin = Clock::now();
  double sent_bits = 0;
  std::size_t frames = 0;
  std::array<char, 4096> buffer{};
  for (;;) {
    const Seconds passed = Clock::now() - begin;
    if (passed > kSettle + kMeasure) break;
    for (; sent_bits < passed.count() * kOffered; sent_bits += kFrame * 8) send_one();
    pollfd wait{.fd = from.get(), .events = POLLIN, .revents = 0};
    ::poll(&wait, 1, 1);
    ssize_t got = 0;
    while ((got = ::read(from.get(), buffer.data(), buffer.size())) > 0) {
      // The kernel has things of its own to say (IPv6, ARP).
      if (static_cast<std::size_t>(got) == received_size && passed > kSettle) ++frames;
    }
  }
  return static_cast<double>(frames * kFrame * 8) / kMeasure.count();
}

void check_rate(const std::string& what, double measured, double wanted) {
  MESSAGE(what << ": " << measured / 1e6 << " Mbit/s of " << wanted / 1e6);
  CHECK(measured > wanted * (1 - kTolerance));
  CHECK(measured < wanted * (1 + kTolerance));
}

// `device` is the guest's; the host's stack is reached by `host_device`, which has kHost.
void check_rates(LinuxNet& net, const Fd& guest, const std::string& device,
                 const std::string& host_device) {
  run_ok("ip neigh replace " + std::string(kGuest) + " lladdr " + kGuestMac + " dev " +
         host_device);
  const std::vector<char> frame = guest_frame(parse_mac(net.link(host_device)->mac));
  for (const std::uint64_t rate : {10'000'000U, 20'000'000U}) {
    net.set_rate({.device = device, .ingress_bit_s = rate, .egress_bit_s = rate}, "vmrig rates");
    const Fd host = host_socket();
    const double down = measure(guest, kVnetHeader + kFrame, [&] { send_to_guest(host); });
    check_rate("guest receives", down, static_cast<double>(rate));
    const double up =
        measure(host, kPayload, [&] { (void)!::write(guest.get(), frame.data(), frame.size()); });
    check_rate("guest sends", up, static_cast<double>(rate));
  }
}

}  // namespace

TEST_CASE("a tap's rate limits hold in both directions") {
  if (const auto reason = no_network_sandbox()) SKIP_TEST(*reason);
  in_network_sandbox([] {
    LinuxNet net;
    net.create_tap({.name = "t0"}, "vmrig t");
    net.add_address({"t0", std::string(kHost) + "/24"});
    const std::vector<Fd> queues = open_tap_queues("t0", 1);
    check_rates(net, queues.front(), "t0", "t0");
  });
}

TEST_CASE("a macvtap's rate limits hold in both directions") {
  if (const auto reason = no_network_sandbox()) SKIP_TEST(*reason);
  in_network_sandbox([] {
    const TempFolder folder;
    run_ok("ip link add veth0 type veth peer name veth1");
    run_ok("ip link set veth0 up");
    run_ok("ip link set veth1 up");
    LinuxNet net;
    net.add_address({"veth1", std::string(kHost) + "/24"});
    net.create_macvtap({.name = "m0", .parent = "veth0", .mode = "bridge", .mac = kGuestMac},
                       "vmrig m");
    const std::vector<Fd> queues = open_macvtap_queues("m0", 1, folder.path());
    check_rates(net, queues.front(), "m0", "veth1");
  });
}
