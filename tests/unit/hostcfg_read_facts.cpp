// Facts read from a host that is made of files.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "hostcfg/base/error.hpp"
#include "hostcfg/path_facts.hpp"
#include "hostcfg/read_facts.hpp"
#include "hostcfg_support.hpp"

using namespace vmrig;

namespace {

// Two nodes of two cores with two threads. hwloc numbers threads of a core one after the other.
Topology two_nodes() { return Topology::from_description("numa:2 l3:1 core:2 pu:2"); }

HostFacts read_under(const test::FakeRoot& root) {
  FactsRequest request;
  request.root = root.path();
  return read_host_facts(request, two_nodes());
}

void write_node(test::FakeRoot& root, int id, const std::string& cpus, const std::string& row) {
  const std::string folder = fmt::format("sys/devices/system/node/node{}/", id);
  root.write(folder + "cpulist", cpus + "\n");
  root.write(folder + "distance", row + "\n");
  root.write(folder + "meminfo",
             fmt::format("Node {0} MemTotal:  1024 kB\nNode {0} MemFree:  256 kB\n"
                         "Node {0} Active(file):  128 kB\nNode {0} Inactive(file):  96 kB\n"
                         "Node {0} Shmem:  64 kB\nNode {0} SReclaimable:  32 kB\n",
                         id));
  root.write(folder + "hugepages/hugepages-2048kB/nr_hugepages", "8\n");
  root.write(folder + "hugepages/hugepages-2048kB/free_hugepages", "5\n");
  root.write(folder + "hugepages/hugepages-1048576kB/nr_hugepages", "0\n");
  root.write(folder + "hugepages/hugepages-1048576kB/free_hugepages", "0\n");
}

void write_processes(test::FakeRoot& root) {
  root.write("proc/self/status",
             "Name:\tx\nUid:\t1000\t1001\t1000\t1000\nCapEff:\t0000000000005000\n"
             "Cpus_allowed_list:\t0\nMems_allowed_list:\t0-1\n");
  root.write("proc/self/limits",
             "Limit                     Soft Limit           Hard Limit           Units     \n"
             "Max open files            1024                 4096                 files     \n"
             "Max locked memory         8388608              unlimited            bytes     \n");
  root.write("proc/self/uid_map", "         0          0 4294967295\n");
}

void write_sriov(test::FakeRoot& root) {
  const std::string bus = "sys/bus/pci/devices/";
  const auto device = [&](const std::string& address, const std::string& uevent) {
    root.write("sys/devices/pci0000:3a/" + address + "/uevent", uevent);
    root.write("sys/devices/pci0000:3a/" + address + "/numa_node", "1\n");
    root.link(bus + address, "../../../devices/pci0000:3a/" + address);
  };
  device("0000:3b:00.1", "DRIVER=ixgbe\nPCI_CLASS=20000\nPCI_ID=8086:1563\n");
  device("0000:3b:10.1", "DRIVER=ixgbevf\nPCI_CLASS=20000\nPCI_ID=8086:1565\n");
  device("0000:3b:10.3", "PCI_CLASS=20000\nPCI_ID=8086:1565\n");
  const std::string pf = "sys/devices/pci0000:3a/0000:3b:00.1/";
  root.write(pf + "sriov_totalvfs", "64\n").write(pf + "sriov_numvfs", "2\n");
  root.link(pf + "virtfn0", "../0000:3b:10.1").link(pf + "virtfn1", "../0000:3b:10.3");
  root.link(pf + "iommu_group", "../../../kernel/iommu_groups/53");
  root.link("sys/devices/pci0000:3a/0000:3b:10.1/physfn", "../0000:3b:00.1");
  root.link("sys/devices/pci0000:3a/0000:3b:10.3/physfn", "../0000:3b:00.1");
}

void write_net(test::FakeRoot& root, const std::string& folder, int index, const char* type) {
  root.write(folder + "ifindex", std::to_string(index) + "\n");
  root.write(folder + "address", "02:00:00:00:00:01\n");
  root.write(folder + "mtu", "9216\n").write(folder + "flags", "0x1003\n");
  root.write(folder + "carrier", "1\n").write(folder + "type", type);
}

}  // namespace

TEST_CASE("memory, hugepage pools and distances are read node by node") {
  test::FakeRoot root;
  write_node(root, 0, "0-1,4-5", "10 21");
  write_node(root, 1, "2-3,6-7", "21 10");
  root.write("sys/devices/system/node/node_of_fools/cpulist", "0");
  const HostFacts facts = read_under(root);
  REQUIRE(facts.nodes.size() == 2);
  CHECK(facts.nodes[0].cpus.to_string() == "0-1,4-5");
  CHECK(facts.nodes[0].memory_total == Bytes::mib(1));
  CHECK(facts.nodes[1].memory_free == Bytes::kib(512));
  CHECK(facts.nodes[0].distances == std::map<int, int>{{0, 10}, {1, 21}});
  REQUIRE(facts.nodes[0].hugepages.size() == 2);
  CHECK(facts.nodes[0].hugepages[0].page_size == Bytes::mib(2));
  CHECK(facts.nodes[0].hugepages[0].total == 8);
  CHECK(facts.nodes[0].hugepages[0].free == 5);
  CHECK(facts.nodes[0].hugepages[1].page_size == Bytes::gib(1));
  // sysfs overrules the nodes that hwloc described.
  CHECK(facts.find_cpu(4)->node == 0);
  CHECK(facts.siblings(0) == CpuSet{0, 1});
  CHECK(facts.find_cpu(0)->l3 != facts.find_cpu(7)->l3);
}

TEST_CASE("a kernel without NUMA has one node with all memory and pools") {
  test::FakeRoot root;
  root.write("proc/meminfo", "MemTotal:  2048 kB\nMemFree:  1024 kB\n");
  root.write("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "3\n");
  FactsRequest request;
  request.root = root.path();
  const HostFacts facts =
      read_host_facts(request, Topology::from_description("numa:1 core:2 pu:1"));
  REQUIRE(facts.nodes.size() == 1);
  CHECK(facts.nodes[0].memory_total == Bytes::mib(2));
  CHECK(facts.nodes[0].hugepages.at(0).total == 3);
  CHECK(facts.nodes[0].hugepages.at(0).free == 0);
}

TEST_CASE("capabilities, limits and user are those of the process") {
  test::FakeRoot root;
  write_processes(root);
  const HostFacts facts = read_under(root);
  CHECK(facts.user_id == 1001);  // effective
  CHECK(facts.can_net_admin);    // bit 12
  CHECK(facts.can_ipc_lock);     // bit 14
  CHECK_FALSE(facts.can_sys_admin);
  CHECK_FALSE(facts.memlock_limit.has_value());
  CHECK(facts.nofile_limit == 4096);
  CHECK(facts.affinity == CpuSet{0});
}

TEST_CASE("root in a user namespace can't lock the host's memory") {
  test::FakeRoot root;
  write_processes(root);
  root.write("proc/self/uid_map", "0 100000 65536\n");
  const HostFacts facts = read_under(root);
  CHECK(facts.can_net_admin);
  CHECK_FALSE(facts.can_ipc_lock);
  root.write("proc/self/uid_map", "");  // nobody has written it yet
  CHECK_FALSE(read_under(root).can_ipc_lock);
}

TEST_CASE("without a cpuset the default affinity is no limit, and isolated CPUs are allowed") {
  test::FakeRoot root;
  write_processes(root);
  root.write("sys/devices/system/cpu/isolated", "2-3\n");
  root.write("sys/devices/system/cpu/nohz_full", "(null)\n");
  root.write("sys/devices/system/cpu/present", "0-9\n");
  const HostFacts facts = read_under(root);
  CHECK(facts.allowed.to_string() == "0-7");
  CHECK(facts.isolated.to_string() == "2-3");
  CHECK(facts.nohz_full.empty());
  CHECK(facts.present.to_string() == "0-9");
}

TEST_CASE("a v2 cpuset is read from the nearest cgroup that has one") {
  test::FakeRoot root;
  write_node(root, 0, "0-3", "10 21");
  write_node(root, 1, "4-7", "21 10");
  root.write("proc/self/cgroup", "0::/kube/pod/deep\n");
  root.write("proc/self/mountinfo", "30 20 0:26 / /cg rw - cgroup2 cgroup2 rw\n");
  root.write("cg/kube/pod/cpuset.cpus.effective", "2-3,9\n");
  root.write("cg/kube/pod/cpuset.mems.effective", "1\n");
  root.write("cg/cpuset.cpus.effective", "0-7\n");
  root.write("cg/cpuset.cpus.isolated", "3\n");
  const HostFacts facts = read_under(root);
  CHECK(facts.allowed.to_string() == "2-3");  // 9 is not online
  CHECK(facts.allowed_nodes == CpuSet{1});
  CHECK(facts.isolated == CpuSet{3});
}

TEST_CASE("a v1 cpuset is read where the container's part of the tree is mounted") {
  test::FakeRoot root;
  root.write("proc/self/cgroup", "4:memory:/x\n3:cpuset:/docker/abc\n0::/\n");
  root.write("proc/self/mountinfo",
             "30 20 0:26 /docker/abc /cg/cpuset ro - cgroup cgroup rw,cpuset\n"
             "31 20 0:27 / /cg/unified rw - cgroup2 cgroup2 rw\n");
  root.write("cg/cpuset/cpuset.effective_cpus", "5\n");
  root.write("cg/unified/cpuset.cpus.effective", "1\n");
  CHECK(read_under(root).allowed == CpuSet{5});
}

TEST_CASE("a cgroup path that leads out of the mount is not followed") {
  test::FakeRoot root;
  root.write("proc/self/cgroup", "0::/../../escaped\n");
  root.write("proc/self/mountinfo", "30 20 0:26 / /a/b/cg rw - cgroup2 cgroup2 rw\n");
  root.write("a/escaped/cpuset.cpus.effective", "0\n");
  root.write("a/b/cg/cpuset.cpus.effective", "4-5\n");
  CHECK(read_under(root).allowed.to_string() == "4-5");
}

TEST_CASE("hugetlbfs mounts are found with their page size, also under names with spaces") {
  test::FakeRoot root;
  root.write("proc/self/mountinfo",
             "1 0 0:1 / / rw - ext4 /dev/sda1 rw\n"
             "2 1 0:2 / /dev/hugepages rw,nosuid shared:7 - hugetlbfs hugetlbfs rw,pagesize=2M\n"
             "3 1 0:3 / /mnt/one\\040gig rw - hugetlbfs none rw,mode=1770,pagesize=1024M\n"
             "4 1 0:4 / /mnt/odd rw - hugetlbfs none rw,pagesize=99999999999999999999M\n"
             "5 1 0:5 / relative rw - hugetlbfs none rw,pagesize=2M\n"
             "6 1 0:6 - hugetlbfs\n - \n-\n");
  const HostFacts facts = read_under(root);
  REQUIRE(facts.hugetlbfs.size() == 2);
  CHECK(facts.hugetlbfs[0] == HugetlbfsMount{"/dev/hugepages", Bytes::mib(2)});
  CHECK(facts.hugetlbfs[1] == HugetlbfsMount{"/mnt/one gig", Bytes::gib(1)});
}

TEST_CASE("only the first processor's flags are read") {
  test::FakeRoot root;
  root.write("proc/cpuinfo",
             "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: EPYC\n"
             "flags\t\t: fpu svm pdpe1gb svmx\n\nprocessor\t: 1\nflags\t\t: vmx hypervisor\n");
  const HostFacts facts = read_under(root);
  CHECK(facts.cpu_vendor == "AuthenticAMD");
  CHECK(facts.cpu_model == "EPYC");
  CHECK(facts.svm);
  CHECK(facts.pdpe1gb);
  CHECK_FALSE(facts.vmx);
  CHECK_FALSE(facts.hypervisor);
  CHECK(facts.nested_kvm_usable());
}

TEST_CASE("/dev/kvm is told apart: absent, not a device, and one that opens") {
  test::FakeRoot root;
  CHECK_FALSE(read_under(root).kvm.exists);
  root.link("dev/kvm", "/dev/null");
  CHECK(read_under(root).kvm.opens);
  std::filesystem::remove(root / "dev/kvm");
  root.fifo("dev/kvm");
  const DeviceFile fifo = read_under(root).kvm;
  CHECK(fifo.exists);
  CHECK_FALSE(fifo.opens);
  CHECK_FALSE(fifo.error.empty());
}

TEST_CASE("a VF knows its PF, its number and its node; a PF knows how many it has") {
  test::FakeRoot root;
  write_sriov(root);
  write_node(root, 1, "0-7", "10");
  write_net(root, "sys/devices/pci0000:3a/0000:3b:00.1/net/eno2/", 3, "1\n");
  root.link("sys/class/net/eno2", "../../devices/pci0000:3a/0000:3b:00.1/net/eno2");
  root.link("sys/devices/pci0000:3a/0000:3b:00.1/net/eno2/device", "../..");
  const HostFacts facts = read_under(root);
  REQUIRE(facts.pci.size() == 3);
  const PciDeviceFacts& pf = facts.pci[0];
  CHECK(pf.address.to_string() == "0000:3b:00.1");
  CHECK(pf.vendor == 0x8086);
  CHECK(pf.device == 0x1563);
  CHECK(pf.class_code == 0x020000);
  CHECK(pf.driver == "ixgbe");
  CHECK(pf.iommu_group == 53);
  CHECK(pf.total_vfs == 64);
  CHECK(pf.num_vfs == 2);
  CHECK(pf.net_devices == std::vector<std::string>{"eno2"});
  CHECK(facts.pci[2].vf_index == 1);
  CHECK(facts.pci[2].physical_function == pf.address);
  CHECK(facts.pci[2].driver.empty());
  REQUIRE(facts.net.size() == 1);
  CHECK(facts.net[0].pci == pf.address);
  CHECK(facts.net[0].numa_node == 1);
  CHECK(facts.net[0].mtu == 9216);
  CHECK(facts.net[0].carrier);
  CHECK(facts.net[0].kind == "physical");
}

TEST_CASE("network devices are told apart by kind") {
  test::FakeRoot root;
  const auto add = [&](const std::string& name, int index, const char* type) {
    const std::string folder = "sys/devices/virtual/net/" + name + "/";
    write_net(root, folder, index, type);
    root.link("sys/class/net/" + name, "../../devices/virtual/net/" + name);
    return folder;
  };
  add("lo", 1, "772\n");
  root.write(add("br0", 2, "1\n") + "uevent", "DEVTYPE=bridge\nINTERFACE=br0\n");
  root.write(add("tap0", 3, "1\n") + "tun_flags", "0x1002\n");
  root.link("sys/devices/virtual/net/tap0/master", "../br0");
  root.write(add("tun0", 4, "65534\n") + "tun_flags", "0x1001\n");
  root.write(add("macvtap0", 5, "1\n") + "macvtap/tap5/dev", "240:1\n");
  add("dummy0", 6, "1\n");
  root.write("sys/class/net/bonding_masters", "\n");
  const HostFacts facts = read_under(root);
  std::vector<std::string> kinds;
  for (const NetDeviceFacts& device : facts.net) kinds.push_back(device.kind);
  CHECK(kinds ==
        std::vector<std::string>{"loopback", "bridge", "tap", "virtual", "macvtap", "virtual"});
  CHECK(facts.net.at(2).master == "br0");
  CHECK(facts.net.at(0).master.empty());
}

TEST_CASE("devices are left out when nobody asks for them") {
  test::FakeRoot root;
  write_sriov(root);
  FactsRequest request;
  request.root = root.path();
  request.devices = FactsRequest::Devices::kSkip;
  CHECK(read_host_facts(request, two_nodes()).pci.empty());
}

TEST_CASE("hostile contents are no facts, and do no harm") {
  test::FakeRoot root;
  const std::string huge(std::size_t{1} << 20, '9');
  const std::string pool = "sys/devices/system/node/node0/hugepages/hugepages-2048kB/";
  root.write(pool + "nr_hugepages", "-1\n").write(pool + "free_hugepages", "5\n");
  const std::string other = "sys/devices/system/node/node1/hugepages/hugepages-2048kB/";
  root.write(other + "nr_hugepages", "4\n").write(other + "free_hugepages", "99\n");
  root.write("sys/devices/system/node/node99999999999/cpulist", "0");
  root.write("sys/devices/system/node/node-5/cpulist", "0");
  root.write("sys/devices/system/node/node0/cpulist", "0-99999999\n");
  root.write("sys/devices/system/node/node0/meminfo",
             "Node 0 MemTotal: 99999999999999999999 kB\nNode 0 MemFree: -3 kB\nMemTotal:");
  root.write("sys/devices/system/node/node0/distance", "10 -20 banana");
  root.write("sys/devices/system/cpu/present", huge);
  root.write("sys/devices/system/cpu/isolated", std::string_view("0\0-3", 4));
  root.fifo("sys/devices/system/cpu/nohz_full");
  root.write("proc/cpuinfo", "flags" + huge);
  root.write("proc/cmdline", "a=\"b c\" \xff\xfe d");
  root.write("proc/self/status", "Uid:\nCapEff:\tzz\nCpus_allowed_list:\t9999999\n");
  root.write("proc/self/limits", "Max locked memory\nMax open files            x -1\n");
  root.write("proc/self/cgroup", "::\n:::\n0::\n1:cpuset:relative\n" + huge);
  root.write("proc/self/mountinfo", huge);
  root.write("sys/bus/pci/devices/0000:00:99.0/uevent", "PCI_ID=zzzz:0000\n");
  root.write("sys/bus/pci/devices/0000:00:01.0/uevent", "PCI_ID=zzzz:-001\nPCI_CLASS=-1\n=\n");
  root.write("sys/bus/pci/devices/0000:00:01.0/numa_node", "70000\n");
  root.write("sys/bus/pci/devices/0000:00:01.0/sriov_totalvfs", "9\n");
  root.write("sys/bus/pci/devices/0000:00:01.0/sriov_numvfs", "2147483647\n");
  root.write("sys/class/net/x/ifindex", "-4\n");
  const HostFacts facts = read_under(root);

  CHECK(facts.cpus.size() == 8);
  CHECK(facts.present == facts.online());
  CHECK(facts.isolated.empty());
  CHECK(facts.nohz_full.empty());
  CHECK(facts.allowed == facts.online());
  REQUIRE(facts.nodes.size() == 2);
  CHECK(facts.nodes[0].cpus.empty());
  CHECK(facts.nodes[0].hugepages.empty());
  CHECK(facts.nodes[0].memory_total == Bytes{0});
  CHECK(facts.nodes[1].hugepages.at(0).free == 4);
  CHECK(facts.memlock_limit == Bytes{0});
  CHECK(facts.user_id == 65534);
  CHECK_FALSE(facts.can_net_admin);
  REQUIRE(facts.pci.size() == 1);
  CHECK(facts.pci[0].vendor == 0);
  CHECK(facts.pci[0].numa_node == -1);
  CHECK(facts.pci[0].num_vfs == 9);
  CHECK(facts.net.empty());
  CHECK(facts.kernel_parameters.front() == "a=\"b c\"");
  // What was read of it can be recorded, and be read again.
  const Json json = to_json(facts);
  CHECK(to_json(facts_from_json(Json::parse(json.dump()))) == json);
}

TEST_CASE("an empty root gives empty facts, and a missing one an error with its name") {
  test::FakeRoot root;
  const HostFacts facts = read_under(root);
  CHECK(facts.cpus.size() == 8);
  CHECK(facts.pci.empty());
  FactsRequest request;
  request.root = root / "absent";
  CHECK_THROWS_WITH_AS(read_host_facts(request, two_nodes()), doctest::Contains("absent"), Error);
}

TEST_CASE("paths are looked at, and only files are opened") {
  test::FakeRoot root;
  root.write("disk.qcow2", std::string_view("QFI\xfb\0\0\0\3rest", 12));
  root.write("old.qcow", std::string_view("QFI\xfb\0\0\0\1", 8));
  root.write("disk.vdi", std::string(0x40, 'x') + "\x7f\x10\xda\xbe");
  root.write("raw", "QF");
  root.fifo("fifo");
  root.link("loop", "loop");
  root.link("link", "disk.qcow2");
  FactsRequest request;
  request.root = root.path();
  request.paths = {"/disk.qcow2", "/old.qcow", "/disk.vdi", "/raw",   "/fifo",
                   "/loop",       "/link",     "/absent",   "/raw/x", "/"};
  const HostFacts facts = read_host_facts(request, two_nodes());
  CHECK(facts.paths.at("/disk.qcow2").magic_format == "qcow2");
  CHECK(facts.paths.at("/disk.qcow2").size == Bytes{12});
  CHECK(facts.paths.at("/disk.qcow2").readable);
  CHECK(facts.paths.at("/disk.qcow2").writable);
  CHECK(facts.paths.at("/old.qcow").magic_format == "qcow");
  CHECK(facts.paths.at("/disk.vdi").magic_format == "vdi");
  CHECK(facts.paths.at("/raw").magic_format.empty());
  CHECK(facts.paths.at("/fifo").type == PathFacts::Type::kOther);
  CHECK(facts.paths.at("/link").type == PathFacts::Type::kFile);
  CHECK(facts.paths.at("/").type == PathFacts::Type::kDirectory);
  for (const char* missing : {"/loop", "/absent", "/raw/x"}) {
    CAPTURE(missing);
    CHECK(facts.paths.at(missing).type == PathFacts::Type::kMissing);
    CHECK_FALSE(facts.paths.at(missing).error.empty());
  }
  CHECK(read_path_facts("/dev/null").type == PathFacts::Type::kCharDevice);
  CHECK(read_path_facts(std::string("/etc\0/passwd", 12)).type == PathFacts::Type::kMissing);
  CHECK(path_type_name(PathFacts::Type::kBlockDevice) == "block device");
}

TEST_CASE("the tightest memory limit of the cgroups up to the top is read") {
  test::FakeRoot root;
  write_processes(root);
  root.write("proc/self/cgroup", "0::/pod/container\n");
  root.write("proc/self/mountinfo", "30 20 0:26 / /cg rw - cgroup2 cgroup2 rw\n");
  root.write("cg/pod/memory.max", "4294967296\n");
  root.write("cg/pod/hugetlb.2MB.max", "max\n");
  root.write("cg/pod/container/memory.max", "8589934592\n");
  root.write("cg/pod/container/hugetlb.2MB.max", "1073741824\n");
  const MemoryLimits limits = read_under(root).memory_limits;
  CHECK(limits.memory == Bytes::gib(4));
  CHECK(limits.hugepages == std::map<Bytes, Bytes>{{Bytes::mib(2), Bytes::gib(1)}});
}
