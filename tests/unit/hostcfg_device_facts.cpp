// What facts say about devices that a VM could take: who needs them, how they can be handed over.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "hostcfg/files.hpp"
#include "hostcfg/pci_ids.hpp"
#include "hostcfg/read_facts.hpp"
#include "hostcfg_support.hpp"

using namespace vmrig;

namespace {

constexpr const char* kNic = "0000:3b:00.0";
constexpr const char* kNvme = "0000:5e:00.0";

std::string folder_of(const std::string& address) {
  return "sys/devices/pci0000:3a/" + address + "/";
}

void add_device(test::FakeRoot& root, const std::string& address, const std::string& uevent) {
  root.write(folder_of(address) + "uevent", uevent);
  root.link("sys/bus/pci/devices/" + address, "../../../devices/pci0000:3a/" + address);
}

void add_nic(test::FakeRoot& root, const std::string& flags) {
  add_device(root, kNic,
             "DRIVER=igb\nPCI_CLASS=20000\nPCI_ID=8086:10C9\nPCI_SUBSYS_ID=1AF4:1100\n");
  const std::string net = folder_of(kNic) + "net/eno1/";
  root.write(net + "ifindex", "2\n").write(net + "flags", flags).write(net + "type", "1\n");
  root.link(net + "device", "../..");
  root.link("sys/class/net/eno1", "../../devices/pci0000:3a/" + std::string(kNic) + "/net/eno1");
}

void add_nvme(test::FakeRoot& root) {
  add_device(root, kNvme, "DRIVER=nvme\nPCI_CLASS=10802\nPCI_ID=1B36:0010\n");
  const std::string disk = folder_of(kNvme) + "nvme/nvme0/nvme0n1/";
  root.write(disk + "dev", "259:0\n");
  root.write(disk + "nvme0n1p1/dev", "259:1\n").write(disk + "nvme0n1p1/partition", "1\n");
  root.write(disk + "nvme0n1p2/dev", "259:2\n").write(disk + "nvme0n1p2/partition", "2\n");
  root.link("sys/block/nvme0n1",
            "../devices/pci0000:3a/" + std::string(kNvme) + "/nvme/nvme0/nvme0n1");
}

HostFacts read_under(const test::FakeRoot& root, NetAddresses addresses = {}) {
  FactsRequest request;
  request.root = root.path();
  request.netlink.addresses = [&addresses] { return addresses; };
  return read_host_facts(request, Topology::from_description("numa:1 core:1 pu:1"));
}

std::vector<std::string> uses(const HostFacts& facts, const char* address) {
  const PciDeviceFacts* device = facts.find_pci(PciAddress::parse(address));
  REQUIRE(device != nullptr);
  return device->in_use;
}

using Uses = std::vector<std::string>;

}  // namespace

TEST_CASE("a network device is in use with addresses, routes, a master or others on top of it") {
  test::FakeRoot root;
  add_nic(root, "0x1003\n");
  SUBCASE("nothing") { CHECK(uses(read_under(root), kNic).empty()); }
  SUBCASE("addresses") {
    CHECK(uses(read_under(root, {{"eno1", {"192.0.2.1"}}}), kNic) ==
          Uses{"eno1 is up with 192.0.2.1"});
  }
  SUBCASE("the default route") {
    root.write("proc/net/route",
               "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n"
               "eno1\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n");
    CHECK(uses(read_under(root), kNic) == Uses{"eno1 has the default route"});
  }
  SUBCASE("another route, by IPv6; those that each device has don't count") {
    const std::string zero(32, '0');
    const std::string tail = " 00000400 00000001 00000000 00000001     eno1\n";
    root.write("proc/net/ipv6_route", "fe80" + std::string(28, '0') + " 40 " + zero + " 00 " +
                                          zero + tail + "20010db8" + std::string(24, '0') + " 40 " +
                                          zero + " 00 " + zero + tail);
    CHECK(uses(read_under(root), kNic) == Uses{"eno1 has routes"});
  }
  SUBCASE("a bridge and a macvlan") {
    const std::string net = folder_of(kNic) + "net/eno1/";
    root.link(net + "master", "../br0").link(net + "upper_br0", "../br0");
    root.link(net + "upper_mv0", "../mv0");
    const HostFacts facts = read_under(root);
    CHECK(uses(facts, kNic) == Uses{"eno1 is a port of br0", "eno1 carries mv0"});
    CHECK(facts.net.at(0).uppers == Uses{"br0", "mv0"});
  }
}

TEST_CASE("a network device that is down is not in use, whatever was set up on it") {
  test::FakeRoot root;
  add_nic(root, "0x1002\n");
  CHECK(uses(read_under(root, {{"eno1", {"192.0.2.1"}}}), kNic).empty());
}

TEST_CASE("a disk is in use when it or a partition is mounted, swap or held") {
  test::FakeRoot root;
  add_nvme(root);
  SUBCASE("nothing") { CHECK(uses(read_under(root), kNvme).empty()); }
  SUBCASE("mounted") {
    root.write("proc/self/mountinfo", "29 1 259:2 / /srv rw - ext4 /dev/nvme0n1p2 rw\n");
    CHECK(uses(read_under(root), kNvme) == Uses{"nvme0n1p2 is mounted on /srv"});
  }
  SUBCASE("mounted by a file system with a number of its own") {
    root.write("proc/self/mountinfo", "29 1 0:33 / / rw - btrfs /dev/nvme0n1p1 rw\n");
    CHECK(uses(read_under(root), kNvme) == Uses{"nvme0n1p1 is mounted on /"});
  }
  SUBCASE("swap and LVM") {
    root.write("proc/swaps", "Filename\tType\n/dev/nvme0n1p1 partition 1 0 -2\n");
    root.link(folder_of(kNvme) + "nvme/nvme0/nvme0n1/nvme0n1p2/holders/dm-0", "../dm-0");
    CHECK(uses(read_under(root), kNvme) ==
          Uses{"nvme0n1p1 is swap space", "nvme0n1p2 is held by dm-0"});
  }
}

TEST_CASE("a multipath NVMe disk is found through its subsystem's controllers") {
  test::FakeRoot root;
  add_device(root, kNvme, "DRIVER=nvme\nPCI_CLASS=10802\nPCI_ID=1B36:0010\n");
  const std::string disk = "sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1";
  root.write(disk + "/dev", "259:0\n");
  root.link("sys/block/nvme0n1", "../devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1");
  root.link("sys/class/nvme-subsystem/nvme-subsys0/nvme0",
            "../../../pci0000:3a/" + std::string(kNvme) + "/nvme/nvme0");
  root.write("proc/self/mountinfo", "29 1 259:0 / /data rw - xfs /dev/nvme0n1 rw\n");
  CHECK(uses(read_under(root), kNvme) == Uses{"nvme0n1 is mounted on /data"});
}

TEST_CASE("a device tells how it resets, who it is reserved for, and its node for iommufd") {
  test::FakeRoot root;
  add_nic(root, "0x1002\n");
  const std::string folder = folder_of(kNic);
  root.write(folder + "reset_method", "flr bus\n").write(folder + "revision", "0x01\n");
  root.write(folder + "driver_override", "vfio-pci\n");
  add_nvme(root);
  root.write(folder_of(kNvme) + "driver_override", "(null)\n");
  root.write(folder_of(kNvme) + "reset", "");
  add_device(root, "0000:60:00.0", "DRIVER=vfio-pci\nPCI_CLASS=30000\nPCI_ID=10DE:1EB8\n");
  root.write(folder_of("0000:60:00.0") + "vfio-dev/vfio3/dev", "511:3\n");
  root.write(folder_of("0000:60:00.0") + "boot_vga", "1\n");
  const HostFacts facts = read_under(root);
  const PciDeviceFacts& nic = facts.pci.at(0);
  CHECK(nic.reset_methods == Uses{"flr", "bus"});
  CHECK(nic.revision == 1);
  CHECK(nic.driver_override == "vfio-pci");
  CHECK(nic.subsystem_vendor == 0x1af4);
  CHECK(nic.subsystem_device == 0x1100);
  CHECK(facts.pci.at(1).driver_override.empty());
  CHECK(facts.pci.at(1).reset_methods == Uses{"unnamed"});
  CHECK(facts.pci.at(2).reset_methods.empty());
  CHECK(facts.pci.at(2).vfio_device == "vfio3");
  CHECK(facts.pci.at(2).boot_vga);
  CHECK(facts.pci.at(2).in_use == Uses{"the host's console is on it"});
}

TEST_CASE("a PF's records are asked for when it has VFs, and then it is in use") {
  test::FakeRoot root;
  add_nic(root, "0x1003\n");
  FactsRequest request;
  request.root = root.path();
  int asked_for = 0;
  request.netlink.vf_records = [&asked_for](int pf_index) {
    asked_for = pf_index;
    VfRecord record;
    record.mac = "02:00:00:00:00:07";
    return std::vector<VfRecord>{record};
  };
  const Topology topology = Topology::from_description("numa:1 core:1 pu:1");
  root.write(folder_of(kNic) + "sriov_totalvfs", "7\n");
  root.write(folder_of(kNic) + "sriov_numvfs", "0\n");
  CHECK(read_host_facts(request, topology).pci.at(0).vf_records.empty());
  CHECK(asked_for == 0);
  root.write(folder_of(kNic) + "sriov_numvfs", "2\n");
  const HostFacts facts = read_host_facts(request, topology);
  CHECK(asked_for == 2);
  REQUIRE(facts.find_vf_record(PciAddress::parse(kNic), 0) != nullptr);
  CHECK(facts.find_vf_record(PciAddress::parse(kNic), 0)->mac == "02:00:00:00:00:07");
  CHECK(facts.find_vf_record(PciAddress::parse(kNic), 1) == nullptr);
  CHECK(facts.pci.at(0).in_use == Uses{"2 VFs are made of it"});
}

TEST_CASE("VFIO facts tell loaded, loadable and absent apart") {
  test::FakeRoot root;
  root.write("proc/sys/kernel/osrelease", "6.1.0\n");
  CHECK_FALSE(read_under(root).vfio.module_available);
  CHECK_FALSE(read_under(root).vfio.container.exists);
  root.write("lib/modules/6.1.0/modules.dep", "kernel/drivers/vfio/pci/vfio-pci.ko.xz: x\n");
  CHECK(read_under(root).vfio.module_available);
  CHECK_FALSE(read_under(root).vfio.driver_present);
  root.write("sys/bus/pci/drivers/vfio-pci/bind", "");
  root.write("sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y\n");
  root.write("dev/iommu", "");
  add_nic(root, "0x1002\n");
  root.link(folder_of(kNic) + "iommu_group", "../../../kernel/iommu_groups/4");
  const VfioFacts vfio = read_under(root).vfio;
  CHECK(vfio.driver_present);
  CHECK(vfio.noiommu);
  CHECK(vfio.iommu);
  CHECK(vfio.iommufd.exists);
  CHECK(vfio.iommufd.error == "it is not a character device");
}

TEST_CASE("names of PCI devices are looked up in one pass, and an absent list gives none") {
  const test::TemporaryFolder folder;
  write_file_atomically(folder / "pci.ids",
                        "# comment\n"
                        "1af4  Red Hat, Inc.\n"
                        "\t1041  Virtio network device\n"
                        "8086  Intel Corporation\n"
                        "\t10c9  82576 Gigabit Network Connection\n"
                        "\t\t8086 a01c  Gigabit ET Dual Port\n"
                        "\t10ca  82576 Virtual Function\n"
                        "C 02  Network controller\n"
                        "\t00  Ethernet controller\n");
  const auto names =
      find_pci_names({{0x8086, 0x10ca}, {0x8086, 0xffff}, {0xdead, 0x10c9}}, folder / "pci.ids");
  CHECK(names.at({0x8086, 0x10ca}).vendor == "Intel Corporation");
  CHECK(names.at({0x8086, 0x10ca}).device == "82576 Virtual Function");
  CHECK(names.at({0x8086, 0xffff}).vendor == "Intel Corporation");
  CHECK(names.at({0x8086, 0xffff}).device.empty());
  CHECK(names.at({0xdead, 0x10c9}).vendor.empty());
  const auto none = find_pci_names({{0x8086, 0x10ca}}, folder / "absent");
  CHECK(none.at({0x8086, 0x10ca}).vendor.empty());
}
