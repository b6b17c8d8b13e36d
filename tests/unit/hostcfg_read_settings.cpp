// How a host is tuned, read from a host that is made of files.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <unistd.h>

#include <random>
#include <string>
#include <vector>

#include "hostcfg/base/error.hpp"
#include "hostcfg/host_check.hpp"
#include "hostcfg/read_settings.hpp"
#include "hostcfg_support.hpp"

using namespace vmrig;

namespace {

HostFacts facts_of_user(unsigned user) {
  HostFacts facts;
  facts.user_id = user;
  facts.isolated = CpuSet::parse("2-3");
  return facts;
}

constexpr const char* kAccounts = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/:/bin/sh\n";

void write_irq(test::FakeRoot& root, int number, const char* mask, const char* served) {
  const std::string folder = fmt::format("proc/irq/{}/", number);
  root.write(folder + "smp_affinity_list", mask);
  root.write(folder + "effective_affinity_list", served);
  root.write(folder + "eth0/x", "");
}

// All files of a host, as the kernel writes them.
const std::vector<std::pair<const char*, const char*>>& tuned_files() {
  static const std::vector<std::pair<const char*, const char*>> files = {
      {"etc/passwd", kAccounts},
      {"etc/group", "root:x:0:\nkvm:x:106:ann\n"},
      {"dev/kvm", ""},
      {"sys/module/kvm_amd/parameters/nested", "1\n"},
      {"sys/kernel/iommu_groups/0/type", "identity\n"},
      {"sys/kernel/iommu_groups/1/type", "DMA-FQ\n"},
      {"sys/firmware/acpi/tables/DMAR", ""},
      {"proc/interrupts", "           CPU0\n  1:  9  IR-IO-APIC    1-edge      i8042\n"},
      {"sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "Y\n"},
      {"sys/devices/system/cpu/nohz_full", "\n"},
      {"sys/devices/system/cpu/smt/control", "on\n"},
      {"sys/devices/system/cpu/cpufreq/policy10/scaling_governor", "powersave\n"},
      {"sys/devices/system/cpu/cpufreq/policy10/affected_cpus", "10 11\n"},
      {"sys/devices/system/cpu/cpufreq/policy2/scaling_governor", "performance\n"},
      {"sys/devices/system/cpu/cpufreq/policy2/affected_cpus", "2 3\n"},
      {"sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"},
      {"sys/devices/system/clocksource/clocksource0/available_clocksource", "tsc hpet \n"},
      {"proc/irq/default_smp_affinity", "1,00000003\n"},
      {"sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"},
      {"sys/kernel/mm/ksm/run", "1\n"},
      {"proc/sys/kernel/numa_balancing", "1\n"},
      {"proc/sys/vm/swappiness", "60\n"},
      {"proc/swaps",
       "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
       "/dev/sda2                               partition\t1048576\t\t0\t\t-2\n"},
      {"proc/self/cgroup", "0::/user.slice/session\n"},
      {"proc/self/mountinfo", "31 23 0:28 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n"},
      {"sys/fs/cgroup/user.slice/session/cgroup.controllers", "cpu memory pids\n"},
      {"sys/fs/cgroup/user.slice/session/cgroup.procs", ""},
      {"sys/fs/cgroup/user.slice/session/cgroup.subtree_control", ""},
      {"sys/fs/cgroup/user.slice/session/memory.max", "8589934592\n"},
      {"sys/fs/cgroup/user.slice/session/cpu.max", "max 100000\n"},
      {"sys/fs/cgroup/user.slice/memory.max", "4294967296\n"},
      {"sys/fs/cgroup/user.slice/cpu.max", "250000 100000\n"},
      {"sys/fs/cgroup/user.slice/pids.max", "512\n"},
      {"sys/fs/cgroup/user.slice/hugetlb.1GB.max", "0\n"},
      {"sys/fs/cgroup/user.slice/hugetlb.2MB.max", "max\n"},
  };
  return files;
}

}  // namespace

TEST_CASE("every setting is read from the kernel's own files") {
  test::FakeRoot root;
  for (const auto& [name, content] : tuned_files()) root.write(name, content);
  write_irq(root, 24, "0-3\n", "2\n");
  write_irq(root, 25, "3\n", "3\n");
  write_irq(root, 26, "0-3\n", "1\n");
  root.write("proc/irq/27/smp_affinity_list", "0-3\n");  // nobody handles it
  root.write("proc/irq/27/effective_affinity_list", "2\n");
  const HostSettings settings = read_host_settings(root.path(), facts_of_user(1000));
  CHECK(settings.user_name == "ann");
  REQUIRE(settings.kvm_owner);
  if (::geteuid() == 0) CHECK(settings.kvm_owner->user == "root");
  CHECK(settings.nested == true);
  CHECK(settings.iommu.groups == 2);
  CHECK(settings.iommu.passthrough == 1);
  CHECK(settings.iommu.firmware_table);
  CHECK(settings.iommu.remaps_interrupts);
  CHECK(settings.iommu.unsafe_interrupts);
  CHECK(settings.has_nohz_full);
  CHECK(settings.smt_control == "on");
  REQUIRE(settings.frequency.size() == 2);
  CHECK(settings.frequency[0].cpus == CpuSet{2, 3});
  CHECK(settings.frequency[1].governor == "powersave");
  CHECK(settings.clock_source == "tsc");
  CHECK(settings.clock_sources == std::vector<std::string>{"tsc", "hpet"});
  CHECK(settings.interrupts.default_cpus == CpuSet{0, 1, 32});
  CHECK(settings.interrupts.strays == std::vector<int>{24});
  CHECK(settings.interrupts.bound == 1);
  CHECK(settings.transparent_hugepages == "madvise");
  CHECK(settings.ksm == 1);
  CHECK(settings.numa_balancing == 1);
  CHECK(settings.swappiness == 60);
  REQUIRE(settings.swap.size() == 1);
  CHECK(settings.swap[0].path == "/dev/sda2");
  CHECK(settings.swap[0].size == Bytes::gib(1));
}

TEST_CASE("the tightest limit up the cgroups counts") {
  test::FakeRoot root;
  for (const auto& [name, content] : tuned_files()) root.write(name, content);
  const CgroupSettings cgroup = read_host_settings(root.path(), facts_of_user(0)).cgroup;
  CHECK(cgroup.is_v2);
  CHECK(cgroup.path == "/user.slice/session");
  CHECK(cgroup.controllers == std::vector<std::string>{"cpu", "memory", "pids"});
  CHECK(cgroup.v1_controllers.empty());
  CHECK(cgroup.may_divide);
  CHECK(cgroup.memory_max == Bytes::gib(4));
  REQUIRE(cgroup.cpu_max);
  CHECK(*cgroup.cpu_max == doctest::Approx(2.5));
  CHECK(cgroup.pids_max == 512);
  CHECK(cgroup.hugetlb_max == std::map<Bytes, Bytes>{{Bytes::gib(1), Bytes{0}}});
}

TEST_CASE("limits of cgroup v1 are read from their own hierarchies") {
  test::FakeRoot root;
  root.write("proc/self/cgroup", "4:memory:/box\n2:cpu,cpuacct:/box\n1:name=systemd:/\n0::/\n");
  root.write("proc/self/mountinfo",
             "33 31 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
             "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
             "36 31 0:33 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
             "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
  root.write("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "1073741824\n");
  root.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  root.write("sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "50000\n");
  root.write("sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000\n");
  root.write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  root.write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  root.write("sys/fs/cgroup/unified/cgroup.controllers", "hugetlb\n");
  const CgroupSettings cgroup = read_host_settings(root.path(), facts_of_user(0)).cgroup;
  CHECK(cgroup.is_v2);
  CHECK(cgroup.controllers == std::vector<std::string>{"hugetlb"});
  CHECK(cgroup.v1_controllers == std::vector<std::string>{"cpu", "cpuacct", "memory"});
  CHECK(cgroup.memory_max == Bytes::gib(1));
  REQUIRE(cgroup.cpu_max);
  CHECK(*cgroup.cpu_max == doctest::Approx(0.5));
}

TEST_CASE("a host that is an empty folder tells nothing") {
  test::FakeRoot root;
  const HostSettings settings = read_host_settings(root.path(), facts_of_user(1000));
  CHECK(settings.user_name == "1000");
  CHECK_FALSE(settings.kvm_owner);
  CHECK_FALSE(settings.nested);
  CHECK(settings.frequency.empty());
  CHECK_FALSE(settings.ksm);
  CHECK_FALSE(settings.cgroup.is_v2);
  CHECK_THROWS_AS(read_host_settings(root / "missing", HostFacts{}), Error);
}

TEST_CASE("files with nonsense in them are as good as none, and crash nothing") {
  std::mt19937 random(7);  // the same each time
  const std::vector<std::string> nonsense = {
      std::string("\0\0\0", 3),
      "[",
      "[]",
      "18446744073709551616",
      "-1 -1",
      "4294967295-0",
      ":::::\n:",
      "0::",
      "9999999999999999999 0",
      ",,,,",
      std::string(9000, 'f'),
      "\xff\xfe",
      "1 2 3 \n\n",
      "0::/../..\n",
      std::string(5000, '[') + " " + std::string(70000, ',')};
  for (const std::string& text : nonsense) {
    test::FakeRoot root;
    for (const auto& [name, content] : tuned_files()) root.write(name, text);
    for (const char* file : {"smp_affinity_list", "effective_affinity_list"}) {
      root.write(std::string("proc/irq/24/") + file, text);
    }
    const HostSettings settings = read_host_settings(root.path(), facts_of_user(0));
    CHECK_FALSE(check_host(HostFacts{}, settings, HostWishes{}).empty());
  }
  for (int round = 0; round < 20; ++round) {
    test::FakeRoot root;
    for (const auto& [name, content] : tuned_files()) {
      std::string text = content;
      for (char& c : text) {
        if (random() % 4 == 0) c = static_cast<char>(random() % 256);
      }
      root.write(name, text);
    }
    const HostSettings settings = read_host_settings(root.path(), facts_of_user(0));
    CHECK_FALSE(check_host(HostFacts{}, settings, HostWishes{}).empty());
  }
}

TEST_CASE("a FIFO in place of a file does not block") {
  test::FakeRoot root;
  root.fifo("proc/interrupts").fifo("proc/swaps").fifo("sys/kernel/mm/ksm/run").fifo("etc/passwd");
  const HostSettings settings = read_host_settings(root.path(), facts_of_user(0));
  CHECK_FALSE(settings.ksm);
  CHECK(settings.user_name == "0");
}
