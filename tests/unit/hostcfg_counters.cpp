// What the kernel counts of processes, threads and links.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <unistd.h>

#include "hostcfg/link_counters.hpp"
#include "hostcfg/netlink_message.hpp"
#include "hostcfg/process_use.hpp"
#include "hostcfg/thread_use.hpp"
#include "hostcfg_support.hpp"
#include "launcher/metrics/read_kernel.hpp"
#include "launcher/vm_threads.hpp"

using namespace vmrig;
using vmrig::test::FakeRoot;

namespace {

FolderReader opened(const FakeRoot& root) { return *FolderReader::open(root.path()); }

TEST_CASE("a process's CPU time and memory are read without a walk of its pages") {
  FakeRoot root;
  root.write("proc/7/stat", "7 (a ) b) S 1 1 1 0 -1 0 0 0 0 0 250 150 0 0 20 0 1 0 5 0\n");
  root.write("proc/7/status",
             "Name:\ta\nVmLck:\t  64 kB\nRssAnon:\t 1024 kB\nRssFile:\t 12 kB\nRssShmem:\t 4 kB\n"
             "VmSwap:\t 8 kB\nHugetlbPages:\t 2048 kB\nSigQ: x\n");
  const auto use = read_process_use(opened(root), 7);
  REQUIRE(use);
  const auto tick = std::chrono::nanoseconds(std::chrono::seconds(1)) / ::sysconf(_SC_CLK_TCK);
  CHECK(use->user == 250 * tick);
  CHECK(use->system == 150 * tick);
  CHECK(use->resident() == Bytes::kib(1024 + 12 + 4 + 2048));
  CHECK(use->swapped == Bytes::kib(8));
  CHECK(use->locked == Bytes::kib(64));
  CHECK_FALSE(read_process_use(opened(root), 8));
  root.write("proc/9/stat", "9 (a) S 1 1");
  CHECK_FALSE(read_process_use(opened(root), 9));
}

TEST_CASE("this very process uses CPU time and memory") {
  const auto use = read_process_use(*FolderReader::open("/"), ::getpid());
  REQUIRE(use);
  CHECK(use->resident() > Bytes::mib(1));
}

void write_thread(FakeRoot& root, pid_t pid, pid_t tid, const std::string& name, unsigned flags,
                  const std::string& status = {}) {
  const std::string folder = fmt::format("proc/{}/task/{}/", pid, tid);
  std::string stat = fmt::format("{} ({}) S 1 1 1 0 -1 {}", tid, name, flags);
  for (int field = 10; field <= 38; ++field) stat += " 7";
  root.write(folder + "stat", stat + " 3 0 0 0 0 0 0\n");
  root.write(folder + "schedstat", "1000 500 3\n");
  root.write(folder + "status", status);
}

TEST_CASE(
    "a VM's threads are the recorded ones by role, vhost workers among them, then the others") {
  constexpr unsigned kKernel = 0x00200000;
  FakeRoot root;
  write_thread(root, 100, 100, "qemu", 0,
               "voluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t3\n");
  write_thread(root, 100, 101, "CPU 0/KVM", 0);
  write_thread(root, 100, 109, "worker", 0);
  write_thread(root, 200, 200, "vhost-100", kKernel);
  write_thread(root, 201, 201, "vhost-999", kKernel);  // somebody else's by now
  write_thread(root, 202, 202, "vhost-100", 0);        // a program that calls itself so
  VmState state;
  state.qemu.pid = 100;
  state.threads = {{"emulator", "", 100, CpuSet{0}}, {"vcpu", "0", 101, CpuSet{3}},
                   {"vcpu", "1", 102, CpuSet{4}},  // has ended
                   {"vhost", "0", 200, CpuSet{0}},   {"vhost", "1", 201, CpuSet{0}},
                   {"vhost", "2", 202, CpuSet{0}}};
  const std::vector<VmThreadUse> threads = read_vm_threads(opened(root), state);
  REQUIRE(threads.size() == 4);
  CHECK(threads[0].role == "emulator");
  CHECK(threads[0].use.voluntary == 12);
  CHECK(threads[0].use.involuntary == 3);
  CHECK(threads[1].role == "vcpu");
  CHECK(threads[1].use.run_ns == 1000);
  CHECK(threads[1].pinned == CpuSet{3});
  CHECK(threads[2].role == "vhost");
  CHECK(threads[2].use.tid == 200);
  CHECK(threads[3].role == kOtherThreads);
  CHECK(threads[3].id == "worker");
  state.qemu.pid = 300;
  CHECK(read_vm_threads(opened(root), state).empty());
}

TEST_CASE("the steal of this host's CPUs stands in /proc/stat before its long lines") {
  FakeRoot root;
  const long ticks = ::sysconf(_SC_CLK_TCK);
  root.write("proc/stat", fmt::format("cpu  1 2 3 4 5 6 7 8 9 10\n"
                                      "cpu0 1 2 3 4 5 6 7 {} 9 10\ncpu12 1 2 3 4 5 6 7 0 9 10\n"
                                      "cpux 1\ncpu13 1 2\nintr {}\ncpu14 1 2 3 4 5 6 7 8\n",
                                      2 * ticks, std::string(100'000, '0')));
  CHECK(read_host_steal(opened(root)) == std::map<int, double>{{0, 2.0}, {12, 0.0}});
  CHECK(read_host_steal(opened(FakeRoot())).empty());
}

// RTM_NEWLINK of a device of this kind with these counters.
NetlinkRequest link_message(const char* kind, const rtnl_link_stats64& stats, std::size_t size) {
  NetlinkRequest message(RTM_NEWLINK, 0, ifinfomsg{});
  message.put(IFLA_IFNAME, std::string("dev0"));
  message.put_bytes(IFLA_STATS64, &stats, size);
  nlattr* info = message.begin(IFLA_LINKINFO);
  message.put(IFLA_INFO_KIND, std::string(kind));
  message.end(info);
  return message;
}

TEST_CASE("a tap's counters are turned round, a macvtap's are its guest's already") {
  rtnl_link_stats64 stats{};
  stats.rx_bytes = 1;
  stats.rx_packets = 2;
  stats.rx_errors = 3;
  stats.rx_dropped = 4;
  stats.tx_bytes = 10;
  stats.tx_packets = 20;
  stats.tx_errors = 30;
  stats.tx_dropped = 40;
  NetlinkRequest tap = link_message("tun", stats, sizeof stats);
  auto counters = parse_guest_counters(nlmsg_hdr(tap.get()));
  REQUIRE(counters);
  CHECK(counters->received.bytes == 10);
  CHECK(counters->received.packets == 20);
  CHECK(counters->sent.bytes == 1);
  CHECK(counters->sent.drops == 4);
  NetlinkRequest macvtap = link_message("macvtap", stats, sizeof stats);
  counters = parse_guest_counters(nlmsg_hdr(macvtap.get()));
  REQUIRE(counters);
  CHECK(counters->received.bytes == 1);
  CHECK(counters->received.errors == 3);
  CHECK(counters->sent.bytes == 10);
  // Of a kernel that counts less.
  NetlinkRequest older = link_message("macvtap", stats, 4 * sizeof(std::uint64_t));
  counters = parse_guest_counters(nlmsg_hdr(older.get()));
  REQUIRE(counters);
  CHECK(counters->sent.bytes == 10);
  CHECK(counters->sent.drops == 0);
}

TEST_CASE("a VF's counters are the ones with its number, where the PF's driver counts") {
  NetlinkRequest message(RTM_NEWLINK, 0, ifinfomsg{});
  nlattr* list = message.begin(IFLA_VFINFO_LIST);
  for (const std::uint32_t vf : {0U, 1U}) {
    nlattr* info = message.begin(IFLA_VF_INFO);
    ifla_vf_mac mac{};
    mac.vf = vf;
    message.put(IFLA_VF_MAC, mac);
    if (vf == 1) {
      nlattr* stats = message.begin(IFLA_VF_STATS);
      message.put(IFLA_VF_STATS_RX_BYTES, std::uint64_t{11});
      message.put(IFLA_VF_STATS_TX_PACKETS, std::uint64_t{22});
      message.put(IFLA_VF_STATS_TX_DROPPED, std::uint64_t{33});
      message.end(stats);
    }
    message.end(info);
  }
  message.end(list);
  nlmsghdr* header = nlmsg_hdr(message.get());
  const auto counters = parse_vf_counters(header, 1);
  REQUIRE(counters);
  CHECK(counters->received.bytes == 11);
  CHECK(counters->sent.packets == 22);
  CHECK(counters->sent.drops == 33);
  CHECK_FALSE(parse_vf_counters(header, 0));
  CHECK_FALSE(parse_vf_counters(header, 2));
  CHECK_FALSE(parse_guest_counters(header));
}

TEST_CASE("the loopback device counts, one that is not there does not") {
  NetlinkSocket socket;
  CHECK(read_guest_counters(socket, "lo"));
  CHECK_FALSE(read_guest_counters(socket, "nosuchdevice0"));
  CHECK_FALSE(read_vf_counters(socket, 1, 0));
}

}  // namespace
