// vmrig verify: the kernel's numbers read, and judged against the plan.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <string>
#include <vector>

#include "hostcfg/memory_use.hpp"
#include "hostcfg/thread_use.hpp"
#include "hostcfg_support.hpp"
#include "launcher/verify.hpp"

using namespace vmrig;
using vmrig::test::FakeRoot;

namespace {

constexpr pid_t kQemu = 100;
constexpr std::uint64_t kSecond = 1'000'000'000;

std::string stat_of(pid_t tid, const std::string& name, unsigned flags, int cpu, int policy) {
  std::string text = fmt::format("{} ({}) S 1 1 1 0 -1 {}", tid, name, flags);
  for (int field = 10; field <= 38; ++field) text += " 7";
  return text + fmt::format(" {} 0 {} 0 0 0 0\n", cpu, policy);
}

FolderReader opened(const FakeRoot& root) { return *FolderReader::open(root.path()); }

ThreadMeasurement thread(pid_t tid, const CpuSet& allowed, int last_cpu) {
  ThreadMeasurement measured;
  measured.use.pid = kQemu;
  measured.use.tid = tid;
  measured.use.name = "qemu";
  measured.use.last_cpu = last_cpu;
  measured.allowed = allowed;
  measured.run_ns = 1;
  return measured;
}

MemoryMapping mapping(Bytes size, int node, bool huge) {
  MemoryMapping mapping;
  mapping.begin = size.value;
  mapping.size = size;
  mapping.page_size = huge ? Bytes::mib(2) : Bytes::kib(4);
  mapping.populated = size;
  mapping.nodes[node] = size;
  mapping.is_hugetlb = huge;
  return mapping;
}

// Two vCPUs on 2 and 3, the emulator on 0-1, 64 MiB of hugepages on node 1, a VF: all as planned.
struct Vm {
  VmState state;
  VmConfig config;
  VmMeasurement measured;

  Vm() {
    state.qemu.pid = kQemu;
    state.threads = {{"emulator", "", kQemu, CpuSet{0, 1}},
                     {"vcpu", "0", 101, CpuSet{2}},
                     {"vcpu", "1", 102, CpuSet{3}},
                     {"vhost", "0", 200, CpuSet{0, 1}}};
    state.placement.emulator = CpuSet{0, 1};
    state.placement.node = 1;
    config.cpu.vcpus = 2;
    config.cpu.exclusive = true;
    config.memory.size = Bytes::mib(64);
    config.memory.hugepages = HugepageSize::k2MiB;
    config.memory.prealloc = true;
    config.memory.lock = true;
    measured.window = std::chrono::seconds(1);
    measured.threads = {thread(kQemu, CpuSet{0, 1}, 0), thread(101, CpuSet{2}, 2),
                        thread(102, CpuSet{3}, 3), thread(103, CpuSet{1}, 1),
                        thread(200, CpuSet{0, 1}, 1)};
    measured.memory = {mapping(Bytes::mib(64), 1, true)};
    measured.vfio = {{"net1", "vfio-pci", 84, true, CpuSet{0}}};
  }

  // The rows that fail, "subject: measured" each.
  std::string faults() const {
    std::string text;
    for (const VerifyRow& row : verify(state, config, measured)) {
      if (!row.pass) text += row.subject + ": " + row.measured + "\n";
    }
    return text;
  }
};

}  // namespace

TEST_CASE("a thread is read with what the kernel counts of it, whatever its name is") {
  FakeRoot root;
  root.write("proc/100/task/101/stat", stat_of(101, "a) b (c", 0x40, 3, SCHED_FIFO))
      .write("proc/100/task/101/schedstat", "5000 700 12\n")
      .write("proc/100/task/101/status", "Name:\tx\nnonvoluntary_ctxt_switches:\t42\n")
      .write("proc/2/task/2/stat", stat_of(2, "kthreadd", 0x208040, 1, SCHED_OTHER))
      .write("proc/7/task/7/stat", "7 (short) S 1 2\n")
      .write("proc/8/task/8/stat", "no parentheses at all");
  const auto use = read_thread_use(opened(root), 100, 101);
  REQUIRE(use);
  CHECK(use->name == "a) b (c");
  CHECK(use->last_cpu == 3);
  CHECK(policy_name(use->policy) == "fifo");
  CHECK(use->run_ns == 5000);
  CHECK(use->wait_ns == 700);
  CHECK(use->involuntary == 42);
  CHECK_FALSE(use->is_kernel_thread);
  CHECK_FALSE(read_thread_use(opened(root), 100, 999));
  // The two that make no sense are left out.
  const auto all = read_all_thread_use(opened(root));
  REQUIRE(all.size() == 2);
  CHECK(all[0].is_kernel_thread);
  CHECK(threads_of(opened(root), 100) == std::vector<pid_t>{101});
}

TEST_CASE("large mappings are read with their nodes, pages and locks") {
  FakeRoot root;
  root.write(
          "proc/100/smaps",
          "7f0000000000-7f0004000000 rw-s 00000000 00:10 5 /dev/hugepages/x (deleted)\n"
          "Size:              65536 kB\nKernelPageSize:     2048 kB\nRss:                   0 kB\n"
          "Private_Hugetlb:   65536 kB\nVmFlags: rd wr sh ht \n"
          "7f0010000000-7f0010200000 rw-p 00000000 00:00 0 \n"
          "KernelPageSize:        4 kB\nRss:                1024 kB\nVmFlags: rd wr lo \n"
          "7f0020000000-7f0020001000 rw-p 00000000 00:00 0 \nRss: 4 kB\n")
      .write(
          "proc/100/numa_maps",
          "7f0000000000 bind:1 file=/dev/hugepages/x huge dirty=32 N1=32 kernelpagesize_kB=2048\n"
          "7f0010000000 default anon=256 dirty=256 N0=200 N1=56 kernelpagesize_kB=4\n"
          "junk N=1 N1= Nx=4\n")
      .write("proc/100/status", "Name:\tq\nVmLck:\t    1024 kB\n");
  const auto mappings = read_memory_mappings(opened(root), 100, Bytes::mib(1));
  REQUIRE(mappings.size() == 2);
  CHECK(mappings[0].size == Bytes::mib(64));
  CHECK(mappings[0].page_size == Bytes::mib(2));
  CHECK(mappings[0].populated == Bytes::mib(64));
  CHECK(mappings[0].is_hugetlb);
  CHECK(mappings[0].nodes == std::map<int, Bytes>{{1, Bytes::mib(64)}});
  CHECK(mappings[1].is_locked);
  CHECK(mappings[1].nodes == std::map<int, Bytes>{{0, Bytes::kib(800)}, {1, Bytes::kib(224)}});
  CHECK(read_locked(opened(root), 100) == Bytes::mib(1));
  CHECK(read_memory_mappings(opened(root), 999, Bytes::mib(1)).empty());
}

TEST_CASE("a VM that is as planned passes every row") {
  const Vm vm;
  CHECK(vm.faults() == "");
  CHECK(verify(vm.state, vm.config, vm.measured).size() == 11);
}

TEST_CASE("each thing that is not as planned fails its row, and no other") {
  Vm vm;
  SUBCASE("a vCPU's affinity") {
    vm.measured.threads[1].allowed = CpuSet{0, 1, 2};
    CHECK(vm.faults() == "vcpu 0: CPUs 0-2, last on 2\n");
  }
  SUBCASE("where a vCPU ran") {
    vm.measured.threads[2].use.last_cpu = 0;
    CHECK(vm.faults() == "vcpu 1: CPU 3, last on 0\n");
    vm.measured.threads[2].run_ns = 0;
    CHECK(vm.faults() == "");
  }
  SUBCASE("a vCPU's thread that is gone") {
    vm.measured.threads.erase(vm.measured.threads.begin() + 1);
    CHECK(vm.faults() == "vcpu 0: thread 101 is gone\n");
  }
  SUBCASE("a worker of QEMU's") {
    vm.measured.threads[3].allowed = CpuSet{2};
    CHECK(vm.faults() == "emulator: CPUs 0-2, 2 threads, 103 (qemu) on 2\n");
  }
  SUBCASE("a vhost worker") {
    vm.measured.threads[4].allowed = CpuSet{3};
    CHECK(vm.faults() == "vhost 0: CPU 3, last on 1\n");
  }
  SUBCASE("a thread's policy") {
    vm.measured.threads[1].use.policy = SCHED_RR;
    CHECK(vm.faults() == "scheduler: 101 (qemu) rr\n");
    vm.measured.threads[1].use.priority = 10;
    vm.state.threads[1].scheduler = {SchedulerPolicy::kRr, 10};
    CHECK(vm.faults() == "");
    vm.measured.threads[1].use.priority = 11;
    CHECK(vm.faults() == "scheduler: 101 (qemu) rr 11\n");
    // A worker that has inherited it is ahead of the whole host.
    vm.measured.threads[1].use.priority = 10;
    vm.measured.threads[3].use.policy = SCHED_RR;
    vm.measured.threads[3].use.priority = 10;
    CHECK(vm.faults() == "scheduler: 103 (qemu) rr 10\n");
  }
  SUBCASE("a limit of its cgroup, and QEMU elsewhere") {
    VmLimits limits;
    limits.group = "/cg/vmrig/v";
    limits.has_qemu = true;
    limits.readings = {{"memory.max", "1024", "1024"}, {"io.max 8:0", "8:0 rbps=1", "8:0 rbps=1"}};
    vm.measured.limits = limits;
    CHECK(vm.faults() == "");
    vm.measured.limits->readings[0].found = "max";
    vm.measured.limits->readings[1].found.clear();
    CHECK(vm.faults() == "limits: QEMU in /cg/vmrig/v, memory.max max, io.max 8:0 is not there\n");
    vm.measured.limits = limits;
    vm.measured.limits->has_qemu = false;
    CHECK(vm.faults() == "limits: QEMU in another cgroup\n");
  }
  SUBCASE("pages on another node") {
    vm.measured.memory[0].nodes = {{0, Bytes::mib(2)}, {1, Bytes::mib(62)}};
    CHECK(vm.faults() == "memory: 2MiB pages, 2MiB on node 0, 62MiB on node 1\n");
  }
  SUBCASE("ordinary pages, which are not locked then") {
    vm.measured.memory = {mapping(Bytes::mib(64), 1, false)};
    CHECK(vm.faults() ==
          "memory: ordinary pages, 64MiB on node 1\nlock of memory: not locked, VmLck 0B\n");
  }
  SUBCASE("pages that are not there yet") {
    vm.measured.memory[0].populated = Bytes::mib(62);
    CHECK(vm.faults() == "memory: 2MiB pages, 64MiB on node 1\n");
  }
  SUBCASE("no such mapping") {
    vm.measured.memory = {mapping(Bytes::mib(32), 1, true)};
    CHECK(vm.faults() == "memory: QEMU shows no mapping of this size\n");
  }
  SUBCASE("a device's driver and group") {
    vm.measured.vfio[0].driver = "igbvf";
    vm.measured.vfio[0].is_open = false;
    CHECK(vm.faults() == "vfio net1: igbvf, group 84 not open, interrupts on CPU 0\n");
  }
  SUBCASE("waiting for a CPU") {
    vm.measured.threads[1].wait_ns = kSecond / 5;
    vm.measured.threads[1].involuntary = 30;
    CHECK(vm.faults() == "vcpu 0 waits: 20.0 % of 1.0 s, 30 involuntary switches\n");
    vm.config.cpu.exclusive = false;
    CHECK(vm.faults() == "");
  }
  SUBCASE("another task") {
    vm.measured.others = {{7, "stress", 2, 0.8}};
    CHECK(vm.faults() == "others on CPUs 2-3: stress (pid 7) 80.0 % on CPU 2\n");
    vm.config.cpu.exclusive = false;
    CHECK(vm.faults() == "");
  }
}

TEST_CASE("what is not pinned may run anywhere") {
  Vm vm;
  for (VmThread& thread : vm.state.threads) thread.cpus = CpuSet();
  vm.state.placement.emulator = CpuSet();
  vm.state.placement.node.reset();
  vm.measured.threads[1].allowed = CpuSet{0, 1, 2, 3};
  CHECK(vm.faults() == "");
}
