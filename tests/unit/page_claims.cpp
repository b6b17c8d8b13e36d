// Hugepages that a process has got, and claims as state.json keeps them.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "hostcfg/memory_use.hpp"
#include "hostcfg/page_pool.hpp"
#include "hostcfg_support.hpp"
#include "launcher/leases.hpp"

using namespace vmrig;

TEST_CASE("hugepages of a process are counted by node and size") {
  test::FakeRoot root;
  root.write("proc/7/numa_maps",
             "7f0000000000 default file=/memfd:x\\040(deleted) huge dirty=3 mapmax=2 N0=1 N1=2 "
             "kernelpagesize_kB=1048576\n"
             "7f1000000000 bind:1 file=/dev/hugepages/x huge dirty=160 N1=160 "
             "kernelpagesize_kB=2048\n"
             "7f2000000000 default file=/lib/huge mapped=9 N0=9 kernelpagesize_kB=4\n"
             "7f3000000000 default huge anon=4 dirty=4 N1=4 kernelpagesize_kB=2048\n"
             "junk huge N1=x kernelpagesize_kB=\n");
  const auto folder = FolderReader::open(root.path());
  REQUIRE(folder);
  const HugetlbUse use = read_hugetlb_use(*folder, 7);
  CHECK(use ==
        HugetlbUse{{{0, Bytes::gib(1)}, 1}, {{1, Bytes::gib(1)}, 2}, {{1, Bytes::mib(2)}, 164}});
  CHECK(read_hugetlb_use(*folder, 8).empty());
  root.write("proc/9/status", "Name:\tx\nHugetlbPages:\t   8192 kB\n");
  CHECK(read_hugetlb_use(*folder, 9) == HugetlbUse{{{0, Bytes::mib(2)}, 4}});
}

TEST_CASE("a pool is read with its surplus, and a wrong one is none") {
  test::FakeRoot root;
  const std::string folder = "sys/devices/system/node/node1/hugepages/hugepages-2048kB/";
  root.write(folder + "nr_hugepages", "12\n")
      .write(folder + "surplus_hugepages", "4\n")
      .write(folder + "free_hugepages", "5\n");
  const Sysfs sysfs(root.path());
  const auto pool = read_page_pool(sysfs, 1, Bytes::mib(2));
  REQUIRE(pool);
  CHECK(*pool == PagePool{.total = 12, .surplus = 4, .free = 5});
  CHECK(pool->persistent() == 8);
  CHECK_FALSE(read_page_pool(sysfs, 0, Bytes::mib(2)));
  CHECK_FALSE(read_page_pool(sysfs, 1, Bytes::gib(1)));
}

TEST_CASE("claims on pages come back from state.json, and older ones have none") {
  Lease lease;
  lease.vm = "a";
  lease.pages = {{.node = 1, .page_size = Bytes::gib(1), .pages = 8, .reserved = 5},
                 {.node = -1, .page_size = Bytes::mib(2), .pages = 3, .reserved = 0}};
  Json json = to_json(lease);
  CHECK(lease_from_json(json).pages == lease.pages);
  json.erase("pages");
  CHECK(lease_from_json(json).pages.empty());
}
