// Which devices and VFs of the host a VM gets, and what is done to the host for them.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "launcher/show_plan.hpp"
#include "tests/support/plan_inputs.hpp"
#include "tests/support/temp_folder.hpp"

using namespace vmrig;
using namespace vmrig::testing;

namespace {

bool has(const std::string& text, const std::string& part) {
  const bool found = text.find(part) != std::string::npos;
  if (!found) MESSAGE("missing: " << part << "\nin: " << text);
  return found;
}

HostFacts two_sockets() { return recorded_facts("two-socket-72cpu"); }

PciDeviceFacts& device(HostFacts& facts, const std::string& address) {
  const PciAddress wanted = PciAddress::parse(address);
  for (PciDeviceFacts& pci : facts.pci) {
    if (pci.address == wanted) return pci;
  }
  FAIL("no device " << address);
  return facts.pci.front();
}

PciDeviceFacts& add_device(HostFacts& facts, const std::string& address, int group, int node) {
  PciDeviceFacts added;
  added.address = PciAddress::parse(address);
  added.vendor = 0x10de;
  added.device = 0x1db6;
  added.class_code = 0x030200;
  added.reset_methods = {"flr"};
  added.iommu_group = group;
  added.numa_node = node;
  facts.pci.push_back(added);
  std::sort(facts.pci.begin(), facts.pci.end(),
            [](const auto& a, const auto& b) { return a.address < b.address; });
  return device(facts, address);
}

// A second PF with VFs, on node 1.
void add_far_pf(HostFacts& facts) {
  const PciAddress pf_address = PciAddress::parse("0000:af:00.0");
  PciDeviceFacts& pf = add_device(facts, "0000:af:00.0", 200, 1);
  pf.class_code = 0x020000;
  pf.driver = "ixgbe";
  pf.total_vfs = 64;
  pf.num_vfs = 1;
  pf.net_devices = {"far0"};
  VfRecord record;
  record.mac = "02:00:00:00:00:01";
  pf.vf_records = {record};
  PciDeviceFacts& vf = add_device(facts, "0000:af:10.0", 201, 1);
  vf.class_code = 0x020000;
  vf.driver = "ixgbevf";
  vf.physical_function = pf_address;
  vf.vf_index = 0;
  NetDeviceFacts net;
  net.name = "far0";
  net.index = 90;
  net.kind = "physical";
  net.pci = pf_address;
  facts.net.push_back(net);
}

Lease lease_of(const std::string& vm, const std::string& address) {
  Lease lease;
  lease.vm = vm;
  lease.pci = {PciAddress::parse(address)};
  return lease;
}

std::string vm(const std::string& members) {
  return fmt::format(R"({{"name": "v", "memory": {{"size": "1GiB"}}, {}}})", members);
}

std::string vf_nic(const std::string& members) {
  return vm(fmt::format(R"("nics": [{{"id": "net1", "type": "vf", {}}}])", members));
}

std::string steps(const Plan& plan) {
  std::string text;
  for (const HostStep& step : plan.host_steps) {
    text += fmt::format("{} {} | {}\n", action_kind(step.action), step.text, step.undo);
  }
  return text;
}

std::string addresses(const Plan& plan) {
  std::string text;
  for (const PassedDevice& passed : plan.passed) {
    text += (text.empty() ? "" : " ") + passed.address.to_string();
  }
  return text;
}

// The -device of that id.
Json front_end(const Plan& plan, const std::string& id) {
  for (const QemuArgument& argument : plan.arguments) {
    if (argument.words.at(0) != "-device") continue;
    Json json = Json::parse(argument.words.at(1));
    if (json.at("id") == Json(id)) return json;
  }
  return nullptr;
}

}  // namespace

TEST_CASE("the contract's VF is chosen, set up and bound, with the undo of each step") {
  const Plan plan = plan_of(
      R"({"name": "csr1000v-1", "profile": "nfv", "cpu": {"vcpus": 8}, "memory": {"size": "8GiB"},
          "nics": [{"id": "net1", "type": "vf", "pf": "eno2", "vf": "auto",
                    "mac": "52:54:00:2d:87:99", "trust": true}]})",
      two_sockets());
  CHECK(problems_of(plan).empty());
  CHECK(addresses(plan) == "0000:3b:10.1");
  CHECK(steps(plan) ==
        "module vfio-pci | stays\n"
        "vf eno2 VF 0: mac 52:54:00:2d:87:99, trust on | mac 8e:df:08:c1:d1:de, trust on\n"
        "bind 0000:3b:10.1 ixgbevf > vfio-pci, group 154, alone | ixgbevf\n" +
            fmt::format("access the VFIO group of 0000:3b:10.1 for user {} | taken back\n",
                        plan.user.account.uid));
  CHECK(plan.placement.node == 0);
  CHECK(has(plan.placement.reasons.at(0), "VF 0000:3b:10.1 of eno2 is there; 30 of 32"));
  CHECK(has(plan.placement.passed_over.at(0), "node 1 (no VF of eno2)"));
  CHECK(plan.claim.pci == std::vector{PciAddress::parse("0000:3b:10.1")});
  CHECK(plan.claim.macs == std::vector<std::string>{"52:54:00:2d:87:99"});
  const Json vf = front_end(plan, "net1");
  CHECK(vf.at("driver") == Json("vfio-pci"));
  CHECK(vf.at("host") == Json("0000:3b:10.1"));
  CHECK(vf.at("bus") == Json("vmrig-port0"));
  const std::string text = show_plan(plan, {.columns = 120, .host_nodes = 2});
  CHECK(has(text, "\n  2 vf         eno2 VF 0: mac 52:54:00:2d:87:99, trust on "));
  CHECK(has(text, "\nhost steps "));
  CHECK(has(text, "   mac 8e:df:08:c1:d1:de, trust on\n"));
}

TEST_CASE("a VF that another VM holds is passed over, and when all are, the holders are named") {
  const std::string config = vf_nic(R"("pf": "eno2")");
  const Plan second = plan_of(config, two_sockets(), {lease_of("a", "0000:3b:10.1")});
  CHECK(problems_of(second).empty());
  CHECK(addresses(second) == "0000:3b:10.3");
  const Plan third = plan_of(config, two_sockets(),
                             {lease_of("a", "0000:3b:10.1"), lease_of("b", "0000:3b:10.3")});
  CHECK(has(problems_of(third),
            "6 nics[0].vf: no VF of eno2 is free: 0000:3b:10.1 is held by VM \"a\", 0000:3b:10.3 "
            "is held by VM \"b\" | vmrig stop a"));
}

TEST_CASE("a VF goes by number, by address and by a device plugin's list") {
  const auto chosen = [](const std::string& members) {
    const Plan plan = plan_of(vf_nic(members), two_sockets(), {lease_of("a", "0000:3b:10.1")});
    return problems_of(plan) + addresses(plan);
  };
  CHECK(chosen(R"("pf": "eno2", "vf": 1)") == "0000:3b:10.3");
  CHECK(chosen(R"("vf": "3b:10.3")") == "0000:3b:10.3");
  CHECK(chosen(R"("vf": "0000:3b:10.1,0000:3b:10.3")") == "0000:3b:10.3");
  CHECK(chosen(R"("vf": ["0000:3b:10.1", "0000:3b:10.3"])") == "0000:3b:10.3");
  CHECK(chosen(R"("pf": "0000:3b:00.1", "vf": 1)") == "0000:3b:10.3");
  CHECK(has(chosen(R"("pf": "eno2", "vf": 0)"), "6 nics[0].vf: 0000:3b:10.1 is held by VM \"a\""));
  CHECK(has(chosen(R"("pf": "eno2", "vf": 7)"), "3 nics[0].vf: eno2 has no VF 7, it has 0 to 1"));
  CHECK(has(chosen(R"("pf": "eno9")"), "3 nics[0].vf: this host has no PF \"eno9\""));
  CHECK(has(chosen(R"("vf": "0000:3b:00.0")"), "3 nics[0].vf: 0000:3b:00.0 is no VF"));
  CHECK(has(chosen(R"("pf": "eno1")"), "eno1 has no VFs, it can have 64 | vmrig sriov set eno1"));
  CHECK(has(chosen(R"("pf": "eno1", "vf": "0000:3b:10.3")"), "is a VF of eno2, not of eno1"));
}

TEST_CASE("two NICs of one VM get two VFs, and none takes what another names") {
  const std::string two =
      R"("nics": [{"id": "a", "type": "vf", "pf": "eno2"},
                  {"id": "b", "type": "vf", "pf": "eno2", "vf": 0}])";
  const Plan plan = plan_of(vm(two), two_sockets());
  CHECK(problems_of(plan).empty());
  CHECK(addresses(plan) == "0000:3b:10.3 0000:3b:10.1");
  const std::string three = R"("nics": [{"id": "a", "type": "vf", "pf": "eno2"},
      {"id": "b", "type": "vf", "pf": "eno2"}, {"id": "c", "type": "vf", "pf": "eno2"}])";
  CHECK(has(problems_of(plan_of(vm(three), two_sockets())), "3 nics[2].vf: no VF of eno2 is left"));
}

TEST_CASE("a VF that the host uses is not taken by auto, and refused by name with the reason") {
  HostFacts facts = two_sockets();
  device(facts, "0000:3b:10.1").in_use = {"eno2v0 is up with 192.0.2.20"};
  CHECK(addresses(plan_of(vf_nic(R"("pf": "eno2")"), facts)) == "0000:3b:10.3");
  CHECK(has(problems_of(plan_of(vf_nic(R"("pf": "eno2", "vf": 0)"), facts)),
            "3 nics[0].vf: the host uses 0000:3b:10.1: eno2v0 is up with 192.0.2.20"));
}

TEST_CASE("a PF that carries the default route is refused, unless forced") {
  const std::string members = R"("vfio": [{"id": "g", "host": "0000:3b:00.0"}])";
  CHECK(has(problems_of(plan_of(vm(members), two_sockets())),
            "3 vfio[0].host: the host uses 0000:3b:00.0: eno1 is up with 192.0.2.10, eno1 has the "
            "default route"));
  const std::string forced = R"("vfio": [{"id": "g", "host": "0000:3b:00.0", "force": true}])";
  const Plan plan = plan_of(vm(forced), two_sockets());
  CHECK(problems_of(plan).empty());
  CHECK(has(steps(plan), "bind 0000:3b:00.0 ixgbe > vfio-pci"));
}

TEST_CASE("a device on node 1 brings CPUs and memory to node 1") {
  HostFacts facts = two_sockets();
  add_far_pf(facts);
  const std::string config =
      R"({"name": "v", "profile": "nfv", "cpu": {"vcpus": 2}, "memory": {"size": "2GiB"},
          "nics": [{"id": "net1", "type": "vf", "pf": "far0"}]})";
  const Plan plan = plan_of(config, facts);
  CHECK(problems_of(plan).empty());
  CHECK(plan.placement.node == 1);
  CHECK(plan.placement.vcpus.at(0).to_string() == "18");
  CHECK(addresses(plan) == "0000:af:10.0");
}

TEST_CASE("of a pool of PFs the one on the node where everything fits is taken") {
  HostFacts facts = two_sockets();
  add_far_pf(facts);
  const std::string config =
      R"({"name": "v", "profile": "nfv", "cpu": {"vcpus": 2}, "memory": {"size": "8GiB"},
          "nics": [{"id": "net1", "type": "vf", "pf": ["eno2", "far0"]}]})";
  CHECK(addresses(plan_of(config, facts)) == "0000:3b:10.1");  // its CPUs are isolated
  for (HugepagePool& pool : facts.nodes.at(0).hugepages) pool.free = 3;
  const Plan plan = plan_of(config, facts);
  CHECK(problems_of(plan).empty());
  CHECK(plan.placement.node == 1);
  CHECK(addresses(plan) == "0000:af:10.0");
}

TEST_CASE("a group that is not viable is refused member by member, before any step") {
  HostFacts facts = two_sockets();
  add_device(facts, "0000:1d:00.0", 70, 0);
  PciDeviceFacts& blocker = add_device(facts, "0000:1d:00.1", 70, 0);
  blocker.driver = "snd_hda_intel";
  const std::string config = R"("vfio": [{"id": "g", "host": "0000:1d:00.0"}])";
  const Plan refused = plan_of(vm(config), facts);
  CHECK(has(problems_of(refused),
            "3 vfio[0].host: group 70 of 0000:1d:00.0 is not viable: drivers of the host hold "
            "0000:1d:00.1 (snd_hda_intel) | \"whole_group\": true; or "));
  CHECK_THROWS_AS(refused.require_good(), DiagnosticsError);

  const std::string whole = R"("vfio": [{"id": "g", "host": "0000:1d:00.0", "whole_group": true}])";
  const Plan taken = plan_of(vm(whole), facts);
  CHECK(problems_of(taken).empty());
  CHECK(has(steps(taken), "bind 0000:1d:00.1 snd_hda_intel > vfio-pci"));
  CHECK(taken.claim.pci.size() == 2);
  CHECK(addresses(taken) == "0000:1d:00.0");

  blocker.in_use = {"it plays music"};
  CHECK(has(problems_of(plan_of(vm(whole), facts)),
            "0000:1d:00.1 of the same group is in use on the host: it plays music"));
}

TEST_CASE("a device whose group another VM has a part of is busy") {
  HostFacts facts = two_sockets();
  add_device(facts, "0000:1d:00.0", 70, 0);
  add_device(facts, "0000:1d:00.1", 70, 0).driver = "vfio-pci";
  CHECK(has(problems_of(plan_of(vm(R"("vfio": [{"id": "g", "host": "0000:1d:00.0"}])"), facts,
                                {lease_of("other", "0000:1d:00.1")})),
            "6 vfio[0].host: 0000:1d:00.0 shares group 70 with 0000:1d:00.1, which VM \"other\" "
            "holds"));
}

TEST_CASE("functions of one device share a slot, on q35 and on pc; VFs never do") {
  HostFacts facts = two_sockets();
  add_device(facts, "0000:1d:00.0", 70, 0);
  add_device(facts, "0000:1d:00.1", 70, 0).driver = "snd_hda_intel";
  const std::string both =
      R"("vfio": [{"id": "g", "host": "0000:1d:00.0"}, {"id": "s", "host": "0000:1d:00.1"}])";
  const Plan q35 = plan_of(vm(both), facts);
  CHECK(problems_of(q35).empty());  // each other's blocker is ours
  CHECK(front_end(q35, "g").at("bus") == front_end(q35, "s").at("bus"));
  CHECK(front_end(q35, "g").at("addr") == Json("0.0"));
  CHECK(front_end(q35, "g").at("multifunction") == Json(true));
  CHECK(front_end(q35, "s").at("addr") == Json("0.1"));
  const Plan pc = plan_of(vm(R"("machine": {"type": "pc"}, )" + both), facts);
  CHECK(front_end(pc, "g").at("addr") == Json("3.0"));
  CHECK(front_end(pc, "s").at("addr") == Json("3.1"));
  // The function that is not 0 alone becomes 0, as every slot needs one.
  const Plan apart =
      plan_of(vm(R"("vfio": [{"id": "g", "host": "0000:1d:00.0", "multifunction": false},
                     {"id": "s", "host": "0000:1d:00.1"}])"),
              facts);
  CHECK(front_end(apart, "g").at("bus") != front_end(apart, "s").at("bus"));
  CHECK_FALSE(front_end(apart, "s").contains("addr"));

  const Plan vfs = plan_of(vm(R"("vfio": [{"id": "x", "host": "0000:3b:10.1"},
                                         {"id": "y", "host": "0000:3b:10.3"}])"),
                           facts);
  CHECK(problems_of(vfs).empty());
  CHECK(front_end(vfs, "x").at("bus") != front_end(vfs, "y").at("bus"));
}

TEST_CASE("VFs are made where a PF has none, at the addresses that the PF tells") {
  HostFacts facts = two_sockets();
  PciDeviceFacts& pf = device(facts, "0000:3b:00.0");
  pf.vf_offset = 128;
  pf.vf_stride = 2;
  const std::string config = vf_nic(R"("pf": "eno1", "create": 4)");
  const Plan plan = plan_of(config, facts);
  CHECK(problems_of(plan).empty());
  CHECK(addresses(plan) == "0000:3b:10.0");
  CHECK(
      has(steps(plan), "vfs eno1: 4 VFs, 0 now | 0 VFs, when no VM uses one\nvf eno1 VF 0: mac "));
  // Another start at the same time has claimed the first already.
  CHECK(addresses(plan_of(config, facts, {lease_of("a", "0000:3b:10.0")})) == "0000:3b:10.2");
  pf.vf_offset = 0;
  CHECK(has(problems_of(plan_of(config, facts)), "does not tell where its VFs will be"));
  CHECK(has(problems_of(plan_of(vf_nic(R"("pf": "eno1", "create": 65)"), facts)),
            "eno1 can have 64 VFs, 65 are wanted"));
}

TEST_CASE("VFs may lie on the buses behind their PF's") {
  HostFacts facts = two_sockets();
  PciDeviceFacts& pf = device(facts, "0000:3b:00.0");
  pf.vf_offset = 254;
  pf.vf_stride = 2;
  CHECK(addresses(plan_of(vf_nic(R"("pf": "eno1", "vf": 1, "create": 4)"), facts)) ==
        "0000:3c:00.0");
}

TEST_CASE(
    "a device that can't be reset, or is no VFIO driver's to keep, is refused with the mend") {
  HostFacts facts = two_sockets();
  add_device(facts, "0000:1d:00.0", 70, 0).reset_methods.clear();
  CHECK(has(problems_of(plan_of(vm(R"("vfio": [{"id": "g", "host": "0000:1d:00.0"}])"), facts)),
            "0000:1d:00.0 can't be reset"));
  CHECK(problems_of(
            plan_of(vm(R"("vfio": [{"id": "g", "host": "0000:1d:00.0", "force": true}])"), facts))
            .empty());
  const std::string keep = vm(R"("vfio": [{"id": "g", "host": "0000:3b:10.1", "driver": "keep"}])");
  CHECK(has(problems_of(plan_of(keep, facts)), "is on ixgbevf, which is no VFIO driver to keep"));
  device(facts, "0000:3b:10.1").driver = "mlx5_vfio_pci";
  facts.vfio.driver_present = true;
  const Plan kept = plan_of(keep, facts);
  CHECK(problems_of(kept).empty());
  REQUIRE(kept.host_steps.size() == 1);
  CHECK(std::holds_alternative<GrantAccess>(kept.host_steps.front().action));
}

TEST_CASE("options of a device reach QEMU, and the boot order can name it") {
  const Plan plan = plan_of(
      vm(R"("boot": {"order": ["g"]}, "vfio": [{"id": "g", "host": "0000:3b:10.1", "rombar": false,
            "romfile": "/r.rom", "properties": {"x-vga": true, "x-pci-vendor-id": 4660}}])"),
      two_sockets());
  const Json props = front_end(plan, "g");
  CHECK(props.at("rombar") == Json(0));
  CHECK(props.at("romfile") == Json("/r.rom"));
  CHECK(props.at("x-vga") == Json(true));
  CHECK(props.at("x-pci-vendor-id") == Json(4660));
  CHECK(props.at("bootindex") == Json(0));
}

TEST_CASE("iommufd is used where QEMU and host have it, by fds that vmrig opens") {
  if (!has_recorded_caps("10.0")) return;
  HostFacts facts = two_sockets();
  const VmConfig config = config_of(vm(R"("vfio": [{"id": "g", "host": "0000:3b:10.1"}])"));
  const qmp::QemuCaps caps = recorded_caps("10.0");
  const auto plan = [&] {
    return make_plan({.config = config, .facts = facts, .caps = caps, .qemu = "/q", .leases = {}});
  };
  CHECK(front_end(plan(), "g").at("host") == Json("0000:3b:10.1"));
  facts.vfio.iommufd = {.exists = true, .opens = true, .error = {}};
  facts.vfio.cdev = true;
  const Plan by_cdev = plan();
  const Json props = front_end(by_cdev, "g");
  CHECK_FALSE(props.contains("host"));
  CHECK(props.at("iommufd") == Json("vmrig-iommufd"));
  int found = 0;
  for (const ChildFd& fd : by_cdev.fds) {
    if (fd.source.kind == FdSource::Kind::kVfioDevice) {
      ++found;
      CHECK(fd.source.name == "0000:3b:10.1");
      CHECK(props.at("fd") == Json(std::to_string(fd.number)));
    }
    if (fd.source.kind == FdSource::Kind::kIommufd) ++found;
  }
  CHECK(found == 2);
}

TEST_CASE("all of the guest's memory may be locked, or the device is refused with the mend") {
  HostFacts facts = two_sockets();
  const std::string config = vm(R"("vfio": [{"id": "g", "host": "0000:3b:10.1"}])");
  CHECK(plan_of(config, facts).locked_memory == LockedMemory::kUnlimited);  // soft, too
  facts.memlock_limit = Bytes::gib(64);
  CHECK(plan_of(config, facts).locked_memory == LockedMemory::kUnlimited);
  facts.can_sys_resource = false;
  CHECK(plan_of(config, facts).locked_memory == LockedMemory::kAsIs);
  CHECK(problems_of(plan_of(config, facts)).empty());
  CHECK(plan_of(config, facts).user.keeps_ipc_lock);
  facts.can_ipc_lock = false;
  CHECK(has(problems_of(plan_of(config, facts)),
            "3 vfio[0]: the limit on locked memory is 64GiB, and vmrig has neither CAP_IPC_LOCK "
            "nor CAP_SYS_RESOURCE | ulimit -l unlimited"));
}

TEST_CASE("what the kernel or the user lacks for VFIO is one clear problem") {
  const std::string config = vm(R"("vfio": [{"id": "g", "host": "0000:3b:10.1"}])");
  HostFacts facts = two_sockets();
  facts.vfio.module_available = false;
  CHECK(has(problems_of(plan_of(config, facts)), "this kernel has no vfio-pci"));
  facts = two_sockets();
  facts.user_id = 1000;
  CHECK(has(problems_of(plan_of(config, facts)), "only root can bind drivers"));
  facts = two_sockets();
  facts.can_net_admin = false;
  CHECK(has(problems_of(plan_of(vf_nic(R"("pf": "eno2")"), facts)), "without CAP_NET_ADMIN"));
  facts = two_sockets();
  device(facts, "0000:3b:10.1").iommu_group = -1;
  facts.vfio.iommu = false;
  CHECK(has(problems_of(plan_of(config, facts)), "0000:3b:10.1 is in no IOMMU group"));
}

TEST_CASE("every VF setting of a NIC reaches its PF, in its units") {
  const Plan plan =
      plan_of(vf_nic(R"("pf": "eno2", "mac": "52:54:00:AB:CD:EF", "vlan": 12, "qos": 3,
                        "vlan_proto": "802.1ad", "trust": false, "spoofchk": true,
                        "link": "enable", "min_rate": "10Mbit", "max_rate": "1Gbit")"),
              two_sockets());
  REQUIRE(plan.host_steps.size() == 4);
  const auto& set = std::get<SetVf>(plan.host_steps.at(1).action);
  CHECK(set.index == 0);
  CHECK(set.settings.mac == "52:54:00:ab:cd:ef");
  CHECK(set.settings.vlan == 12);
  CHECK(set.settings.qos == 3);
  CHECK(set.settings.vlan_proto == "802.1ad");
  CHECK(set.settings.trust == false);
  CHECK(set.settings.spoofchk == true);
  CHECK(set.settings.link_state == "enable");
  CHECK(set.settings.min_rate_mbit == 10);
  CHECK(set.settings.max_rate_mbit == 1000);
}

TEST_CASE("a PF without a network device can't be told a MAC that was asked for") {
  HostFacts facts = two_sockets();
  device(facts, "0000:3b:00.1").net_devices.clear();
  CHECK(has(
      problems_of(plan_of(vf_nic(R"("pf": "0000:3b:00.1", "mac": "52:54:00:00:00:07")"), facts)),
      "mac 52:54:00:00:00:07 can't be set: the PF 0000:3b:00.1 has no network device here"));
  const Plan plan = plan_of(vf_nic(R"("pf": "0000:3b:00.1")"), facts);
  CHECK(problems_of(plan).empty());
  CHECK(steps(plan).find("VF 0") == std::string::npos);
}

TEST_CASE("keys of a VF are refused on other NICs, and a VF's own contradictions are") {
  const auto faults = [](const std::string& nic) -> std::string {
    try {
      config_of(vm(fmt::format(R"("nics": [{{"id": "n", {}}}])", nic)));
      return "";
    } catch (const DiagnosticsError& error) {
      return error.what();
    }
  };
  CHECK(has(faults(R"("vlan": 5)"), "nics[0].vlan: is not for type \"user\""));
  CHECK(has(faults(R"("type": "vf")"), "nics[0].pf: is missing"));
  CHECK(has(faults(R"("type": "vf", "pf": ["a", "b"], "vf": 0)"), "a VF of one PF"));
  CHECK(has(faults(R"("type": "vf", "pf": "a", "qos": 3)"), "no use without a VLAN"));
  CHECK(has(faults(R"("type": "vf", "pf": "a", "min_rate": "2Gbit", "max_rate": "100Mbit")"),
            "is more than the max_rate"));
  CHECK(has(faults(R"("type": "vf", "pf": "a", "max_rate": "100")"), "is no rate"));
  CHECK(has(faults(R"("type": "vf", "pf": "a", "vf": "some")"), "neither \"auto\""));
  CHECK(has(faults(R"("type": "vf", "pf": "a", "mtu": 9000)"), "is not for a VF"));
}

TEST_CASE("the example with a VF can be planned on a host that has its PFs") {
  const std::string text = read_text(VMRIG_EXAMPLES "/vf.json");
  REQUIRE_FALSE(text.empty());
  const Plan plan = plan_of(text, two_sockets());
  CHECK(problems_of(plan).empty());
  CHECK(addresses(plan) == "0000:3b:10.1");
}
