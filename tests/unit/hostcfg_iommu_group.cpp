#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "hostcfg/facts.hpp"
#include "hostcfg/files.hpp"
#include "hostcfg/host_action.hpp"
#include "hostcfg/iommu_group.hpp"
#include "hostcfg_support.hpp"

using namespace vmrig;
using Role = GroupMember::Role;

namespace {

constexpr int kGroup = 7;
const PciAddress kWanted{0, 0, 0x1f, 0};

HostFacts reference_host() {
  const auto path = test::data_folder() / "facts" / "two-socket-72cpu.json";
  return facts_from_json(Json::parse(read_small_file(path.string(), 1 << 20)));
}

// A group of the wanted device and one function more.
HostFacts host_with(std::uint32_t class_code, std::string driver, std::string use = {}) {
  HostFacts facts;
  facts.vfio.iommu = true;
  PciDeviceFacts wanted;
  wanted.address = kWanted;
  wanted.class_code = 0x060100;
  wanted.iommu_group = kGroup;
  PciDeviceFacts other = wanted;
  other.address = {0, 0, 0x1f, 2};
  other.class_code = class_code;
  other.driver = std::move(driver);
  if (!use.empty()) other.in_use.push_back(std::move(use));
  facts.pci = {wanted, other};
  return facts;
}

Role role_beside(std::uint32_t class_code, std::string driver) {
  const GroupVerdict verdict = judge_group(host_with(class_code, std::move(driver)), kWanted);
  REQUIRE(verdict.members.size() == 2);
  CHECK(verdict.viable == (verdict.members[1].role != Role::kBlocking));
  return verdict.members[1].role;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("each kind of group member is judged as the kernel judges it") {
  CHECK(role_beside(0x020000, "") == Role::kUnbound);
  CHECK(role_beside(0x020000, "vfio-pci") == Role::kVfio);
  CHECK(role_beside(0x020000, "mlx5_vfio_pci") == Role::kVfio);
  CHECK(role_beside(0x020000, "pci-stub") == Role::kPciStub);
  CHECK(role_beside(0x020000, "e1000") == Role::kBlocking);
  CHECK(role_beside(0x060400, "pcieport") == Role::kBridge);
  CHECK(role_beside(0x060400, "shpchp") == Role::kBridge);
  CHECK(role_beside(0x060400, "") == Role::kBridge);
  CHECK(role_beside(0x060000, "") == Role::kUnbound);
  // A host or ISA bridge is an ordinary function with a driver.
  CHECK(role_beside(0x060100, "lpc_ich") == Role::kBlocking);
}

TEST_CASE("a group that is not viable names who blocks it and what could be done") {
  const GroupVerdict verdict = judge_group(host_with(0x010601, "ahci"), kWanted);
  CHECK_FALSE(verdict.viable);
  CHECK(contains(verdict.diagnosis, "group 7 of 0000:00:1f.0"));
  CHECK(contains(verdict.diagnosis, "0000:00:1f.2 (ahci)"));
  CHECK(contains(verdict.mend, "vmrig vfio bind --whole-group 0000:00:1f.0"));
  CHECK(verdict.blocking() == std::vector<PciAddress>{{0, 0, 0x1f, 2}});
}

TEST_CASE("binding the whole group is not proposed when the host needs a part of it") {
  const GroupVerdict verdict =
      judge_group(host_with(0x010601, "ahci", "sda1 is mounted on /"), kWanted);
  CHECK(contains(verdict.diagnosis, "ahci, sda1 is mounted on /"));
  CHECK_FALSE(contains(verdict.mend, "--whole-group"));
}

TEST_CASE("a blocking member that the same VM takes does not block") {
  const GroupVerdict verdict = judge_group(host_with(0x010601, "ahci"), kWanted, {{0, 0, 0x1f, 2}});
  CHECK(verdict.viable);
  CHECK(verdict.members.at(1).role == Role::kOurs);
  CHECK(verdict.diagnosis.empty());
  CHECK(verdict.mend.empty());
}

TEST_CASE("a device without a group, a bridge, and an address of nothing are not viable") {
  HostFacts facts = host_with(0x020000, "");
  facts.pci[0].iommu_group = -1;
  CHECK_FALSE(judge_group(facts, kWanted).viable);
  CHECK(judge_group(facts, kWanted).group == -1);
  facts.vfio.iommu = false;
  CHECK(contains(judge_group(facts, kWanted).mend, "intel_iommu=on"));
  facts = host_with(0x020000, "");
  facts.pci[0].class_code = 0x060400;
  CHECK(contains(judge_group(facts, kWanted).diagnosis, "PCI bridge"));
  CHECK(contains(judge_group(facts, {0, 9, 9, 1}).diagnosis, "no PCI device 0000:09:09.1"));
}

TEST_CASE("VFs of the reference host are alone in their groups") {
  const GroupVerdict verdict = judge_group(reference_host(), {0, 0x3b, 0x10, 1});
  CHECK(verdict.viable);
  CHECK(verdict.alone());
  CHECK(verdict.group == 154);
}

TEST_CASE("host actions and their undo are said as the plan shows them") {
  const HostFacts facts = reference_host();
  const PciAddress pf{0, 0x3b, 0, 1};
  const PciAddress vf{0, 0x3b, 0x10, 1};
  VfSettings settings;
  settings.mac = "52:54:00:2d:87:99";
  settings.trust = true;
  const HostAction set = SetVf{pf, 0, settings};
  CHECK(action_kind(set) == "vf");
  CHECK(describe_action(set, facts) == "eno2 VF 0: mac 52:54:00:2d:87:99, trust on");
  CHECK(describe_undo(set, facts) == "mac 8e:df:08:c1:d1:de, trust on");
  const HostAction bind = BindDriver{vf, "vfio-pci"};
  CHECK(describe_action(bind, facts) == "0000:3b:10.1 ixgbevf > vfio-pci, group 154, alone");
  CHECK(describe_undo(bind, facts) == "ixgbevf");
  const HostAction count = SetVfCount{{0, 0x3b, 0, 0}, 4};
  CHECK(describe_action(count, facts) == "eno1: 4 VFs, 0 now");
  CHECK(describe_undo(count, facts) == "0 VFs, when no VM uses one");
  CHECK(describe_undo(LoadModule{"vfio-pci"}, facts) == "stays");
  CHECK(describe_undo(SetVf{{0, 0x3b, 0, 0}, 3, settings}, facts) == "as it was");
}

TEST_CASE("settings are put back for what was set, and nothing else") {
  VfRecord record;
  record.mac = "02:00:00:00:00:01";
  record.vlan = 5;
  record.vlan_proto = "802.1Q";
  record.max_rate_mbit = 100;
  VfSettings which;
  which.vlan = 9;
  which.trust = true;
  const VfSettings old = settings_of(record, which);
  CHECK(old.vlan == 5);
  CHECK_FALSE(old.mac.has_value());
  CHECK_FALSE(old.trust.has_value());  // the device does not tell
  CHECK_FALSE(old.max_rate_mbit.has_value());
  CHECK(describe_settings(all_settings_of(record)) ==
        "mac 02:00:00:00:00:01, vlan 5 802.1Q, qos 0, no min rate, max rate 100 Mbit/s");
}
