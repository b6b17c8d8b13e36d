// Rows of the host check, from facts and settings that a test makes up.
#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "hostcfg/host_check.hpp"
#include "launcher/host_wishes.hpp"
#include "launcher/show_host_check.hpp"
#include "tests/support/plan_inputs.hpp"

using namespace vmrig;

namespace {

struct Host {
  HostFacts facts;
  HostSettings settings;
  HostWishes wishes;

  HostRow row(const std::string& name) const {
    for (const HostRow& row : check_host(facts, settings, wishes)) {
      if (row.name == name) return row;
    }
    return {
        .name = "no such row", .severity = Severity::kProblem, .found = "", .mend = "", .keep = ""};
  }
};

// The recorded two-socket server, tuned in all that facts do not hold: no row complains.
Host tuned_host() {
  Host host;
  host.facts = testing::recorded_facts("two-socket-72cpu");
  host.facts.nohz_full = host.facts.isolated;
  host.facts.vhost_net = {.exists = true, .opens = true, .error = {}};
  HostSettings& settings = host.settings;
  settings.user_name = "root";
  settings.kvm_owner = NodeOwner{.user = "root", .group = "kvm", .mode = 0660};
  settings.nested = true;
  settings.iommu = {.groups = 80,
                    .passthrough = 80,
                    .firmware_table = true,
                    .remaps_interrupts = true,
                    .unsafe_interrupts = false};
  settings.has_nohz_full = true;
  settings.frequency = {{.cpus = host.facts.online(), .governor = "performance"}};
  settings.smt_control = "on";
  settings.clock_source = "tsc";
  settings.clock_sources = {"tsc", "hpet", "acpi_pm"};
  settings.interrupts.default_cpus = CpuSet::parse("0,9-36,45-71");
  settings.transparent_hugepages = "madvise";
  settings.ksm = 0;
  settings.numa_balancing = 0;
  settings.swappiness = 60;
  host.facts.cgroup = {};
  settings.cgroup.is_v2 = true;
  settings.cgroup.path = "/";
  settings.cgroup.controllers = {"cpuset", "cpu", "io", "memory", "hugetlb", "pids"};
  settings.cgroup.may_divide = true;
  return host;
}

struct Case {
  const char* title;
  std::function<void(Host&)> change;
  const char* name;
  Severity severity;
  const char* found;  // a part of what was found
  const char* mend;   // a part of the mend
};

void check_cases(const std::vector<Case>& cases) {
  for (const Case& one : cases) {
    INFO(std::string(one.title));
    Host host = tuned_host();
    one.change(host);
    const HostRow row = host.row(one.name);
    INFO(row.found);
    INFO(row.mend);
    CHECK(row.name == one.name);
    CHECK(severity_name(row.severity) == severity_name(one.severity));
    CHECK(row.found.find(one.found) != std::string::npos);
    CHECK(row.mend.find(one.mend) != std::string::npos);
    CHECK(row.mend.empty() == (row.severity == Severity::kOk));
  }
}

}  // namespace

TEST_CASE("a tuned host has no row that complains, and no name twice") {
  const Host host = tuned_host();
  std::set<std::string> names;
  for (const HostRow& row : check_host(host.facts, host.settings, host.wishes)) {
    INFO(row.name << ": " << row.found << " | " << row.mend);
    CHECK(row.severity == Severity::kOk);
    CHECK(row.mend.empty());
    CHECK(row.keep.empty());
    CHECK_FALSE(row.found.empty());
    CHECK(names.insert(row.name).second);
  }
  CHECK(names.size() == 27);
}

TEST_CASE("each row on KVM and devices says what is missing and what mends it") {
  const auto no_iommu = [](Host& host) { host.settings.iommu = {}; };
  const auto no_flags = [](Host& host) { host.facts.vmx = false; };
  check_cases({
      {"no vmx", no_flags, "virtualisation", Severity::kProblem, "neither vmx nor svm",
       "Intel VT-x"},
      {"no svm",
       [](Host& host) {
         host.facts.vmx = false;
         host.facts.cpu_vendor = "AuthenticAMD";
       },
       "virtualisation", Severity::kProblem, "/dev/kvm is there all the same", "SVM"},
      {"no vmx in a VM",
       [](Host& host) {
         host.facts.vmx = false;
         host.facts.hypervisor = true;
       },
       "virtualisation", Severity::kProblem, "itself a virtual machine", "nested=1"},
      {"no vmx, and any accelerator will do",
       [](Host& host) {
         host.facts.vmx = false;
         host.wishes.kvm = Need::kUseful;
       },
       "virtualisation", Severity::kWarning, "neither", "VT-x"},
      {"no vmx, and TCG is wanted",
       [](Host& host) {
         host.facts.vmx = false;
         host.wishes.kvm = Need::kNone;
       },
       "virtualisation", Severity::kOk, "neither", ""},
      {"/dev/kvm", [](Host&) {}, "/dev/kvm", Severity::kOk, "opens for root (root:kvm 0660)", ""},
      {"no /dev/kvm",
       [](Host& host) {
         host.facts.kvm = {false, false, "No such file or directory"};
       },
       "/dev/kvm", Severity::kProblem, "none", "modprobe kvm_intel"},
      {"not in the group",
       [](Host& host) {
         host.facts.kvm = {true, false, "Permission denied"};
         host.facts.user_id = 1000;
         host.settings.user_name = "ann";
       },
       "/dev/kvm", Severity::kProblem, "does not open for ann: Permission denied",
       "usermod -aG kvm ann"},
      {"a node of root's alone",
       [](Host& host) {
         host.facts.kvm = {true, false, "Permission denied"};
         host.facts.user_id = 1000;
         host.settings.kvm_owner = NodeOwner{.user = "root", .group = "root", .mode = 0600};
       },
       "/dev/kvm", Severity::kProblem, "root:root 0600", "chgrp kvm /dev/kvm"},
      {"a container's device rules",
       [](Host& host) {
         host.facts.kvm = {true, false, "Operation not permitted"};
       },
       "/dev/kvm", Severity::kProblem, "Operation not permitted", "--device /dev/kvm"},
      {"nested off", [](Host& host) { host.settings.nested = false; }, "nested KVM", Severity::kOk,
       "modprobe -r kvm_intel", ""},
      {"no IOMMU", no_iommu, "IOMMU", Severity::kWarning, "none", "enable VT-d"},
      {"no IOMMU, a VF wanted",
       [&](Host& host) {
         no_iommu(host);
         host.settings.iommu.firmware_table = true;
         host.wishes.vfio = Need::kRequired;
       },
       "IOMMU", Severity::kProblem, "the kernel does not use it",
       "kernel parameter intel_iommu=on iommu=pt"},
      {"no IOMMU, no device wanted",
       [&](Host& host) {
         no_iommu(host);
         host.wishes.vfio = Need::kNone;
       },
       "IOMMU", Severity::kOk, "none", ""},
      {"no IOMMU on AMD",
       [&](Host& host) {
         no_iommu(host);
         host.facts.cpu_vendor = "AuthenticAMD";
       },
       "IOMMU", Severity::kWarning, "none",
       "(AMD-Vi) in the firmware setup, then kernel parameter iommu=pt"},
      {"the host's DMA is translated", [](Host& host) { host.settings.iommu.passthrough = 0; },
       "IOMMU", Severity::kWarning, "80 groups, intel_iommu=on", "kernel parameter iommu=pt"},
      {"some is", [](Host& host) { host.settings.iommu.passthrough = 79; }, "IOMMU", Severity::kOk,
       "in 1 of them", ""},
      {"no interrupt remapping", [](Host& host) { host.settings.iommu.remaps_interrupts = false; },
       "interrupt remapping", Severity::kWarning, "VFIO refuses", "x2APIC"},
      {"turned off by the user",
       [](Host& host) {
         host.settings.iommu.remaps_interrupts = false;
         host.facts.kernel_parameters = {"nointremap", "--", "intremap=off"};
         host.wishes.vfio = Need::kRequired;
       },
       "interrupt remapping", Severity::kProblem, "nointremap", "boot without nointremap"},
      {"unsafe interrupts",
       [](Host& host) {
         host.settings.iommu.remaps_interrupts = false;
         host.settings.iommu.unsafe_interrupts = true;
         host.wishes.vfio = Need::kRequired;
       },
       "interrupt remapping", Severity::kWarning, "any interrupt of the host", "echo N"},
      {"vfio-pci can be loaded", [](Host&) {}, "VFIO", Severity::kOk, "can be loaded", ""},
      {"vfio-pci can be loaded by root only", [](Host& host) { host.facts.user_id = 1000; }, "VFIO",
       Severity::kWarning, "not loaded", "modprobe vfio-pci"},
      {"no vfio-pci", [](Host& host) { host.facts.vfio = {}; }, "VFIO", Severity::kWarning,
       "has no vfio-pci", "CONFIG_VFIO_PCI"},
      {"vhost-net absent", [](Host& host) { host.facts.vhost_net = {}; }, "vhost-net",
       Severity::kWarning, "has no vhost_net", "CONFIG_VHOST_NET"},
      {"vhost-net required",
       [](Host& host) {
         host.facts.vhost_net = {};
         host.facts.vhost_net_available = true;
         host.facts.user_id = 1000;
         host.wishes.vhost = Need::kRequired;
       },
       "vhost-net", Severity::kProblem, "not loaded", "modprobe vhost_net"},
      {"vhost-net is not ours",
       [](Host& host) {
         host.facts.vhost_net = {true, false, "Permission denied"};
       },
       "vhost-net", Severity::kWarning, "Permission denied", "/dev/vhost-net"},
  });
}

TEST_CASE("each row on CPUs says what is missing and what mends it") {
  check_cases({
      {"none isolated", [](Host& host) { host.facts.isolated = {}; }, "isolated CPUs",
       Severity::kWarning, "none of 0-71",
       "kernel parameter isolcpus=managed_irq,domain,1-35,37-71 nohz_full=1-35,37-71 "
       "rcu_nocbs=1-35,37-71"},
      {"none isolated, none wanted",
       [](Host& host) {
         host.facts.isolated = {};
         host.wishes.pinned = false;
       },
       "isolated CPUs", Severity::kOk, "none", ""},
      {"others wanted",
       [](Host& host) {
         host.wishes.cpus = CpuSet{1, 9};
       },
       "isolated CPUs", Severity::kWarning, "the vCPUs are to have 1,9",
       "isolcpus=managed_irq,domain,1-9,37-44"},
      {"one core",
       [](Host& host) {
         host.facts.isolated = {};
         host.facts.cpus = {host.facts.cpus.front()};
       },
       "isolated CPUs", Severity::kWarning, "none of 0", "more cores"},
      {"the tick", [](Host& host) { host.facts.nohz_full = CpuSet{1}; }, "nohz_full",
       Severity::kWarning, "1: the timer ticks on the isolated CPUs 2-8,37-44",
       "kernel parameter nohz_full=1-8,37-44"},
      {"no such kernel",
       [](Host& host) {
         host.facts.nohz_full = {};
         host.settings.has_nohz_full = false;
       },
       "nohz_full", Severity::kWarning, "built without", "CONFIG_NO_HZ_FULL"},
      {"the tick of nobody",
       [](Host& host) {
         host.facts.nohz_full = {};
         host.wishes.pinned = false;
       },
       "nohz_full", Severity::kOk, "none", ""},
      {"callbacks", [](Host& host) { host.facts.nohz_full = {}; }, "rcu_nocbs", Severity::kWarning,
       "none: the isolated CPUs 1-8,37-44", "kernel parameter rcu_nocbs=1-8,37-44"},
      {"callbacks of some",
       [](Host& host) {
         host.facts.nohz_full = {};
         host.facts.kernel_parameters.emplace_back("rcu-nocbs=1-8");
       },
       "rcu_nocbs", Severity::kWarning, "37-44 run RCU callbacks", "rcu_nocbs=1-8,37-44"},
      {"callbacks of all",
       [](Host& host) {
         host.facts.nohz_full = {};
         host.facts.kernel_parameters.emplace_back("rcu_nocbs=1-N");
       },
       "rcu_nocbs", Severity::kOk, "1-71", ""},
      {"callbacks, and a list that is none",
       [](Host& host) {
         host.facts.nohz_full = {};
         host.facts.kernel_parameters.emplace_back("rcu_nocbs=NNN-\xff");
       },
       "rcu_nocbs", Severity::kWarning, "none", "rcu_nocbs=1-8"},
      {"by nohz_full", [](Host&) {}, "rcu_nocbs", Severity::kOk, "by nohz_full", ""},
      {"stray interrupts",
       [](Host& host) {
         host.settings.interrupts.strays = {30, 31, 32, 33, 34, 35};
         host.settings.interrupts.bound = 2;
       },
       "interrupts", Severity::kWarning, "30, 31, 32, 33, 34 and 1 more; 2 bound there",
       "for i in 30 31 32 33 34 35; do echo 0,9-36,45-71 > /proc/irq/$i/smp_affinity_list; done"},
      {"interrupts to come",
       [](Host& host) { host.settings.interrupts.default_cpus = host.facts.online(); },
       "interrupts", Severity::kWarning, "new ones may go to 0-71",
       "kernel parameter irqaffinity=0,9-36,45-71"},
      {"a slow governor of some",
       [](Host& host) {
         host.settings.frequency = {{.cpus = CpuSet::parse("0-8"), .governor = "powersave"},
                                    {.cpus = CpuSet::parse("9-71"), .governor = "performance"}};
       },
       "governor", Severity::kWarning, "performance on 37-44, powersave on 1-8",
       "cpupower -c 1-8 frequency-set -g performance"},
      {"a slow governor of all",
       [](Host& host) {
         host.facts.isolated = {};
         host.settings.frequency = {{.cpus = host.facts.online(), .governor = "schedutil"}};
       },
       "governor", Severity::kWarning, "schedutil on 0-71", "echo performance | tee"},
      {"a slow governor of CPUs that are not the VM's",
       [](Host& host) { host.settings.frequency = {{.cpus = CpuSet{0}, .governor = "powersave"}}; },
       "governor", Severity::kOk, "not told of these CPUs", ""},
      {"no governor", [](Host& host) { host.settings.frequency = {}; }, "governor", Severity::kOk,
       "none", ""},
      {"siblings", [](Host& host) { host.facts.isolated = CpuSet::parse("1-8"); }, "SMT",
       Severity::kWarning, "CPUs 0,36 share a core, and so on; CPUs 1-8 are isolated",
       "isolcpus=managed_irq,domain,1-8,37-44"},
      {"no siblings",
       [](Host& host) {
         host.facts = testing::recorded_facts("isolated-1gib");
         host.settings.smt_control = "off";
       },
       "SMT", Severity::kOk, "off (off)", ""},
      {"a slow clock", [](Host& host) { host.settings.clock_source = "hpet"; }, "clock source",
       Severity::kWarning, "hpet", "echo tsc > /sys/devices/system/clocksource/clocksource0"},
      {"no tsc",
       [](Host& host) {
         host.settings.clock_source = "acpi_pm";
         host.settings.clock_sources = {"acpi_pm"};
       },
       "clock source", Severity::kWarning, "acpi_pm", "tsc=reliable"},
      {"a narrow cpuset", [](Host& host) { host.facts.allowed = CpuSet::parse("0-3"); }, "cpuset",
       Severity::kWarning, "CPUs 0-3 of 0-71, memory of node 0-1; the isolated CPUs 4-8,37-44",
       "--cpuset-cpus=0-8,37-44"},
  });
}

TEST_CASE("each row on memory says what is missing and what mends it") {
  const auto empty = [](Host& host) {
    for (NumaNode& node : host.facts.nodes) {
      for (HugepagePool& pool : node.hugepages) pool.free = pool.total = 0;
    }
  };
  const auto wants = [](Host& host, Bytes page, Bytes memory) {
    host.wishes.page_size = page;
    host.wishes.memory = memory;
    host.wishes.node = 0;
  };
  check_cases({
      {"free pages", [](Host&) {}, "1GiB pages, node 0", Severity::kOk, "30 free of 32", ""},
      {"no page anywhere", empty, "1GiB pages, node 0", Severity::kProblem, "0 free of 0",
       "echo 8 > /sys/devices/system/node/node0/hugepages/hugepages-1048576kB/nr_hugepages"},
      {"no page here, but there", [](Host& host) { host.facts.nodes[0].hugepages[1].free = 0; },
       "1GiB pages, node 0", Severity::kOk, "0 free of 32", ""},
      {"too few of those wanted", [&](Host& host) { wants(host, Bytes::gib(1), Bytes::gib(40)); },
       "1GiB pages, node 0", Severity::kProblem, "30 free of 32, 40 needed", "echo 42 > "},
      {"enough of those wanted", [&](Host& host) { wants(host, Bytes::gib(1), Bytes::gib(30)); },
       "1GiB pages, node 0", Severity::kOk, "30 needed", ""},
      {"from both nodes",
       [&](Host& host) {
         wants(host, Bytes::gib(1), Bytes::gib(62));
         host.wishes.node.reset();
       },
       "1GiB pages, node 1", Severity::kOk, "62 needed", ""},
      {"the other node", [&](Host& host) { wants(host, Bytes::gib(1), Bytes::gib(40)); },
       "1GiB pages, node 1", Severity::kOk, "32 free of 32", ""},
      {"none wanted",
       [&](Host& host) {
         empty(host);
         host.wishes.hugepages = false;
       },
       "1GiB pages, node 0", Severity::kOk, "0 free of 0", ""},
      {"a CPU without 1GiB pages",
       [&](Host& host) {
         wants(host, Bytes::gib(1), Bytes::gib(1));
         host.facts.pdpe1gb = false;
         for (NumaNode& node : host.facts.nodes) {
           std::erase_if(node.hugepages,
                         [](const HugepagePool& pool) { return pool.page_size == Bytes::gib(1); });
         }
       },
       "hugepages", Severity::kProblem, "the CPU has no 1GiB pages", "2MiB"},
      {"no pool at all",
       [](Host& host) {
         for (NumaNode& node : host.facts.nodes) node.hugepages.clear();
       },
       "hugepages", Severity::kProblem, "no pool", "hugepagesz="},
      {"no mount, and no right to",
       [](Host& host) {
         host.facts.hugetlbfs.clear();
         host.facts.can_sys_admin = false;
       },
       "hugetlbfs", Severity::kWarning, "not mounted", "mount -t hugetlbfs -o pagesize=1G"},
      {"no mount", [](Host& host) { host.facts.hugetlbfs.clear(); }, "hugetlbfs", Severity::kOk,
       "not mounted; vmrig mounts its own", ""},
      {"no mount of these, and no right to",
       [&](Host& host) {
         wants(host, Bytes::mib(2), Bytes::gib(1));
         host.facts.can_sys_admin = false;
       },
       "hugetlbfs", Severity::kProblem, "none with 2MiB pages", "pagesize=2M"},
      {"no mount, but memfd",
       [&](Host& host) {
         wants(host, Bytes::mib(2), Bytes::gib(1));
         host.wishes.hugetlbfs = false;
       },
       "hugetlbfs", Severity::kOk, "/dev/hugepages", ""},
      {"THP always", [](Host& host) { host.settings.transparent_hugepages = "always"; }, "THP",
       Severity::kWarning, "khugepaged", "echo madvise"},
      {"THP never, and no hugepages",
       [](Host& host) {
         host.settings.transparent_hugepages = "never";
         host.wishes.hugepages = false;
       },
       "THP", Severity::kWarning, "4 KiB", "echo madvise"},
      {"no THP", [](Host& host) { host.settings.transparent_hugepages.clear(); }, "THP",
       Severity::kOk, "not in this kernel", ""},
      {"KSM", [](Host& host) { host.settings.ksm = 1; }, "KSM", Severity::kWarning, "ksmd",
       "echo 2 > /sys/kernel/mm/ksm/run"},
      {"KSM wanted",
       [](Host& host) {
         host.settings.ksm = 1;
         host.wishes.merged = true;
       },
       "KSM", Severity::kOk, "runs", ""},
      {"no KSM", [](Host& host) { host.settings.ksm.reset(); }, "KSM", Severity::kOk, "not in", ""},
      {"swap, eagerly",
       [](Host& host) { host.settings.swap = {{.path = "/dev/sda2", .size = Bytes::gib(4)}}; },
       "swap", Severity::kWarning, "4096 MiB of /dev/sda2, swappiness 60",
       "sysctl vm.swappiness=10"},
      {"swap, calmly",
       [](Host& host) {
         host.settings.swap = {{.path = "/dev/sda2", .size = Bytes::gib(4)}};
         host.settings.swappiness = 10;
       },
       "swap", Severity::kOk, "swappiness 10", ""},
      {"swap of what is not locked",
       [](Host& host) {
         host.settings.swap = {{.path = "/dev/sda2", .size = Bytes::gib(4)}};
         host.wishes.locked = host.wishes.hugepages = false;
       },
       "swap", Severity::kWarning, "can be swapped out", "swapoff -a"},
      {"memlock",
       [](Host& host) {
         host.facts.memlock_limit = Bytes::mib(8);
         host.facts.can_sys_resource = host.facts.can_ipc_lock = false;
       },
       "memlock", Severity::kProblem, "8MiB, with neither", "prlimit --pid $$ --memlock=unlimited"},
      {"memlock of nobody",
       [](Host& host) {
         host.facts.memlock_limit = Bytes::mib(8);
         host.facts.can_sys_resource = host.facts.can_ipc_lock = false;
         host.wishes.locked = false;
       },
       "memlock", Severity::kOk, "8MiB", ""},
      {"memlock is raised", [](Host& host) { host.facts.memlock_limit = Bytes::mib(8); }, "memlock",
       Severity::kOk, "raised by vmrig", ""},
      {"NUMA balancing", [](Host& host) { host.settings.numa_balancing = 1; }, "NUMA balancing",
       Severity::kWarning, "unmaps", "sysctl kernel.numa_balancing=0"},
      {"NUMA balancing of one node",
       [](Host& host) {
         host.settings.numa_balancing = 1;
         host.facts.nodes.pop_back();
       },
       "NUMA balancing", Severity::kOk, "one node", ""},
  });
}

TEST_CASE("each row on cgroups says what is missing and what mends it") {
  check_cases({
      {"v1",
       [](Host& host) {
         host.settings.cgroup.v1_controllers = {"memory", "cpu"};
         host.settings.cgroup.controllers = {"hugetlb"};
       },
       "cgroup", Severity::kWarning, "v1 has cpu memory; v2 has hugetlb",
       "systemd.unified_cgroup_hierarchy=1"},
      {"none", [](Host& host) { host.settings.cgroup = {}; }, "cgroup", Severity::kWarning, "none",
       "mount -t cgroup2"},
      {"a controller is not there",
       [](Host& host) { host.settings.cgroup.controllers = {"memory"}; }, "cgroup",
       Severity::kWarning, "v2, / has memory", "\"+cpu +pids\" > cgroup.subtree_control"},
      {"a group elsewhere",
       [](Host& host) {
         host.settings.cgroup.controllers.clear();
         host.settings.cgroup.may_divide = false;
         host.facts.cgroup.base = "/sys/fs/cgroup";
         host.facts.cgroup.controllers = {"cpu", "memory", "pids"};
       },
       "cgroup", Severity::kOk, "VMs' groups are made in /sys/fs/cgroup", ""},
      {"not delegated", [](Host& host) { host.settings.cgroup.may_divide = false; }, "cgroup",
       Severity::kWarning, "not delegated to root", "Delegate=yes"},
      {"not delegated, and no limits wanted",
       [](Host& host) {
         host.settings.cgroup.may_divide = false;
         host.wishes.limits = false;
       },
       "cgroup", Severity::kOk, "not delegated", ""},
      {"CPU time", [](Host& host) { host.settings.cgroup.cpu_max = 2.5; }, "cgroup limits",
       Severity::kWarning, "2.5 CPUs' time", "raise cpu.max"},
      {"CPU time that is enough",
       [](Host& host) {
         host.settings.cgroup.cpu_max = 2.5;
         host.wishes.pinned = false;
         host.wishes.vcpus = 2;
       },
       "cgroup limits", Severity::kOk, "2.5 CPUs' time", ""},
      {"memory",
       [](Host& host) {
         host.settings.cgroup.memory_max = Bytes::gib(4);
         host.wishes.hugepages = false;
         host.wishes.memory = Bytes::gib(4);
       },
       "cgroup limits", Severity::kProblem, "memory 4096 MiB", "raise memory.max"},
      {"hugepages",
       [](Host& host) {
         host.settings.cgroup.hugetlb_max[Bytes::gib(1)] = Bytes::gib(2);
         host.settings.cgroup.pids_max = 64;
         host.wishes.page_size = Bytes::gib(1);
         host.wishes.memory = Bytes::gib(4);
       },
       "cgroup limits", Severity::kProblem, "2048 MiB in 1GiB pages, 64 tasks",
       "hugetlb.1GB.max, pids.max"},
  });
}

TEST_CASE("a host that tells nothing is judged without a crash") {
  for (const HostRow& row : check_host(HostFacts{}, HostSettings{}, HostWishes{})) {
    CHECK_FALSE(row.found.empty());
    CHECK(row.mend.empty() == (row.severity == Severity::kOk));
  }
}

TEST_CASE("what a config wants is what its host is judged by") {
  const HostFacts facts = testing::recorded_facts("two-socket-72cpu");
  const std::string nfv =
      R"({"name": "a", "profile": "nfv", "cpu": {"vcpus": 8}, "memory": {"size": "8GiB"}})";
  const Plan plan = testing::plan_of(nfv, facts);
  const HostWishes tuned = wishes_of(plan.config, &plan);
  CHECK(tuned.cpus.to_string() == "1-8");
  CHECK(tuned.node == 0);
  CHECK(tuned.page_size == Bytes::gib(1));
  CHECK(tuned.memory == Bytes::gib(8));
  CHECK(tuned.kvm == Need::kUseful);
  CHECK(tuned.vfio == Need::kNone);
  CHECK(tuned.locked);
  CHECK_FALSE(tuned.merged);
  const HostWishes without_plan = wishes_of(testing::config_of(nfv), nullptr);
  CHECK(without_plan.cpus.empty());
  CHECK(without_plan.page_size == Bytes::gib(1));

  const HostWishes plain = wishes_of(
      testing::config_of(R"({"name": "a", "memory": {"size": "1GiB"}, "machine": {"accel": "kvm"},
        "nics": [{"id": "n", "type": "tap", "bridge": "br0"}]})"),
      nullptr);
  CHECK(plain.kvm == Need::kRequired);
  CHECK(plain.vhost == Need::kUseful);
  CHECK(plain.network);
  CHECK_FALSE(plain.pinned);
  CHECK_FALSE(plain.hugepages);
  CHECK_FALSE(plain.locked);

  const HostWishes vf = wishes_of(
      testing::config_of(R"({"name": "a", "memory": {"size": "1GiB"}, "machine": {"accel": "tcg"},
        "nics": [{"id": "n", "type": "vf", "pf": "eno2"}]})"),
      nullptr);
  CHECK(vf.kvm == Need::kNone);
  CHECK(vf.vfio == Need::kRequired);
  CHECK(vf.locked);
}

TEST_CASE("a host report counts, aligns, escapes and tells the verdict") {
  HostReport report;
  report.host = {
      {.name = "swap", .severity = Severity::kOk, .found = "none", .mend = "", .keep = ""},
      {.name = "IOMMU",
       .severity = Severity::kWarning,
       .found = "no\x1b[31mne",
       .mend = "kernel parameter iommu=pt",
       .keep = ""}};
  const std::string text = show_host_check(report, Colour::kOff, 80);
  CHECK(text ==
        "host       1 ok, 1 warning\n"
        "  ok       swap   none\n"
        "  warning  IOMMU  no\\x1b[31mne\n"
        "           mend: kernel parameter iommu=pt\n"
        "this host can run a tuned VM\n"
        "kernel parameters go to GRUB_CMDLINE_LINUX in /etc/default/grub; then update-grub, and "
        "boot\n");
  report.vm = "a";
  report.plan = {row_of({.severity = Severity::kProblem,
                         .status = ExitStatus::kHost,
                         .path = "cpu.pin",
                         .message = "no",
                         .mend = "do",
                         .file = "",
                         .line = 0})};
  CHECK(report.has_problems());
  const Json json = to_json(report);
  CHECK(json.at("can_run") == false);
  CHECK(json.at("vm") == "a");
  CHECK(json.at("plan").at(0) ==
        Json({{"name", "cpu.pin"}, {"severity", "problem"}, {"found", "no"}, {"mend", "do"}}));
  CHECK(json.at("host").at(0).contains("mend") == false);
  CHECK(show_host_check(report, Colour::kOn, 80).find("\x1b[31mproblem\x1b[0m") !=
        std::string::npos);
}
