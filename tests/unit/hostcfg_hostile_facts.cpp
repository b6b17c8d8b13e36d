// Whatever a host's files say, its facts can be recorded and read again.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "hostcfg/base/error.hpp"
#include "hostcfg/read_facts.hpp"
#include "hostcfg_support.hpp"

using namespace vmrig;

namespace {

HostFacts read_under(const test::FakeRoot& root) {
  FactsRequest request;
  request.root = root.path();
  return read_host_facts(request, Topology::from_description("numa:2 l3:1 core:2 pu:2"));
}

// The facts, read, recorded, read again and recorded again: the same text.
HostFacts recorded(const test::FakeRoot& root) {
  const Json first = to_json(read_under(root));
  const HostFacts again = facts_from_json(Json::parse(first.dump()));
  CHECK(to_json(again) == first);
  return again;
}

}  // namespace

TEST_CASE("names with bytes that are no text are recorded with marks in their place") {
  test::FakeRoot root;
  const std::string nic = "sys/class/net/eth\xff/";
  root.write(nic + "ifindex", "3\n").write(nic + "address", std::string("a\0b\xff", 4));
  root.write("proc/cpuinfo", "vendor_id : \xfe\xff\n");
  root.write("proc/self/cgroup", "3:cpu\xff:/\n0::/\n");
  root.write("proc/self/mountinfo",
             "30 20 0:26 / /cg rw - cgroup2 cgroup2 rw\n"
             "31 20 0:27 / /v1 rw - cgroup cgroup rw,cpu\xff\n");
  root.write("cg/cgroup.controllers", "cpu m\xffm\n");
  root.write("cg/cgroup.procs", "").write("cg/cgroup.subtree_control", "");
  const HostFacts facts = recorded(root);
  REQUIRE(facts.net.size() == 1);
  CHECK(facts.net[0].name == "eth\xef\xbf\xbd");
  CHECK(facts.net[0].mac ==
        "a\xef\xbf\xbd"
        "b\xef\xbf\xbd");
  CHECK(facts.cgroup.v1_controllers == std::vector<std::string>{"cpu\xef\xbf\xbd"});
}

TEST_CASE("mounts and cgroups that neither QEMU nor the journal could name are not there") {
  test::FakeRoot root;
  root.write("proc/self/cgroup", "0::/own\xff\n");
  root.write("proc/self/mountinfo",
             "30 20 0:26 / /cg rw - cgroup2 cgroup2 rw\n"
             "31 20 0:27 / /huge\\377 rw - hugetlbfs hugetlbfs rw,pagesize=2M\n"
             "32 20 0:28 / /huge\\000x rw - hugetlbfs hugetlbfs rw,pagesize=2M\n"
             "33 20 0:29 / /gr\\303\\266 rw - hugetlbfs hugetlbfs rw,pagesize=2M\n");
  root.write("cg/own\xff/cgroup.type", "domain\n");
  const HostFacts facts = recorded(root);
  REQUIRE(facts.hugetlbfs.size() == 1);
  CHECK(facts.hugetlbfs[0].path == "/gr\xc3\xb6");
  CHECK(facts.cgroup.base.empty());
  CHECK(facts.cgroup.why_not == "its name is no UTF-8, which the journal is in");
}

TEST_CASE("a cgroup whose folder the journal refuses is no base, on a host or in recorded facts") {
  test::FakeRoot root;
  root.write("proc/self/cgroup", "0::/\n");
  root.write("proc/self/mountinfo", "30 20 0:26 / /cg\\012x rw - cgroup2 cgroup2 rw\n");
  root.write("cg\nx/cgroup.procs", "").write("cg\nx/cgroup.subtree_control", "");
  HostFacts facts = recorded(root);
  CHECK(facts.cgroup.base.empty());
  CHECK(facts.cgroup.why_not.find("line break") != std::string::npos);
  for (const char* base : {")sys/fs/cgroup", "/sys/../etc", "/sys/..", "/sys\nfs"}) {
    facts.cgroup.base = base;
    CHECK_THROWS_AS(facts_from_json(to_json(facts)), Error);
  }
}

TEST_CASE("a node, a pool and a PCI device exist once, however often they are named") {
  test::FakeRoot root;
  for (const char* node : {"node0", "node00", "node 0", "node+0"}) {
    root.write(std::string("sys/devices/system/node/") + node + "/cpulist", "0-3\n");
  }
  for (const char* pool : {"hugepages-2048kB", "hugepages-02048kB"}) {
    root.write(std::string("sys/devices/system/node/node0/hugepages/") + pool + "/nr_hugepages",
               "4\n");
  }
  for (const char* device : {"0000:3b:00.1", "3b:00.1", "0000:3B:00.1", "00000:3b:00.1"}) {
    root.write(std::string("sys/bus/pci/devices/") + device + "/vendor", "0x8086\n");
  }
  const HostFacts facts = recorded(root);
  REQUIRE(facts.nodes.size() == 1);
  CHECK(facts.nodes[0].hugepages.size() == 1);
  CHECK(facts.pci.size() == 1);
}

TEST_CASE("numbers beyond what there can be are no facts") {
  test::FakeRoot root;
  root.write("proc/sys/kernel/sched_rt_runtime_us", "-2\n");
  root.write("proc/sys/kernel/sched_rt_period_us", "0\n");
  root.write("proc/self/limits",
             "Max open files            1                    18446744073709551615 files\n"
             "Max locked memory         1                    18446744073709551615 bytes\n");
  root.write("sys/bus/usb/devices/1-1/busnum", "1\n")
      .write("sys/bus/usb/devices/1-1/devnum", "128\n");
  root.write("sys/bus/usb/devices/1-1/idVendor", "1d6b\n");
  root.write("sys/bus/usb/devices/1-1/idProduct", "0002\n");
  root.write("sys/bus/pci/devices/0000:3b:00.1/vendor", "0x8086\n");
  root.link("sys/bus/pci/devices/0000:3b:00.1/iommu_group", "../../2000000000");
  root.write(
      "sys/devices/system/node/node0/meminfo",
      "Node 0 MemTotal: 1125899906842624 kB\nNode 0 MemFree: 1125899906842624 kB\n"
      "Node 0 Active(file): 1125899906842624 kB\nNode 0 SReclaimable: 4503599627370497 kB\n");
  const HostFacts facts = recorded(root);
  CHECK_FALSE(facts.rt_runtime_us);
  CHECK_FALSE(facts.rt_period_us);
  CHECK(facts.usb.empty());
  REQUIRE(facts.pci.size() == 1);
  CHECK(facts.pci[0].iommu_group == -1);
  REQUIRE(facts.nodes.size() == 1);
  CHECK(facts.nodes[0].memory_free == facts.nodes[0].memory_total);
}
