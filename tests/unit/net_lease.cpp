// Actions on the network, applied and undone on a network of variables.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "hostcfg/base/error.hpp"
#include "hostcfg/host_lease.hpp"
#include "hostcfg_support.hpp"
#include "tests/unit/crash_plan.hpp"
#include "tests/unit/plain_host.hpp"

using namespace vmrig;
using testing::Crash;
using testing::CrashPlan;
using testing::FakeNet;

namespace {

const JournalOwner kOwner{"boot-1", 4242, 99};
const JournalOwner kOther{"boot-1", 4343, 100};

const CreateBridge kBridge{.name = "br0", .address = "10.0.0.1/24", .vlan_filtering = true};
const CreateTap kTap{.name = "a-net0", .queues = 2};
const JoinBridge kJoin{.device = "a-net0", .bridge = "br0", .vlan = 7};
const SetRate kRate{.device = "a-net0", .ingress_bit_s = 10'000'000};
const CreateVlan kVlan{.name = "eth0.7", .parent = "eth0", .vlan = 7};
const CreateMacvtap kMacvtap{
    .name = "a-net1", .parent = "eth0.7", .mode = "bridge", .mac = "52:54:00:00:00:01"};
const AddOvsPort kOvsPort{.bridge = "ovs0", .port = "a-net0", .tag = 5};

std::vector<HostAction> a_launch() {
  return {kBridge, kTap, kJoin, kRate, kVlan, kMacvtap, SetAddress{"a-net0", "10.1.0.1/30"},
          kOvsPort};
}

testing::PlainHost a_host() {
  testing::PlainHost host;
  host.network.add("eth0", "");
  return host;
}

// The names and aliases, for comparison.
std::string links_of(const testing::PlainHost& host) {
  std::string text;
  for (const auto& [name, link] : host.network.links) {
    text += name + " " + link.kind + " " + link.master + " " + link.alias + "\n";
  }
  return text;
}

bool is_as_new(const testing::PlainHost& host) {
  for (const auto& [device, rate] : host.network.rates) {
    if (rate.ours) return false;
  }
  return links_of(host) == links_of(a_host()) && host.network.ovs.empty();
}

const UndoLine& line_of(const UndoReport& report, std::string_view kind) {
  for (const UndoLine& line : report.lines) {
    if (action_kind(line.action) == kind) return line;
  }
  FAIL("no line about " << kind);
  return report.lines.front();
}

}  // namespace

TEST_CASE("a network that a launch made is gone after its undoing") {
  const test::TemporaryFolder folder;
  testing::PlainHost host = a_host();
  HostLease lease(host, folder / "journal", kOwner);
  for (const HostAction& action : a_launch()) lease.apply(action);
  CHECK(host.network.links.at("a-net0").master == "br0");
  CHECK(host.network.links.at("br0").alias == "vmrig");
  CHECK(host.network.links.at("a-net0").alias.starts_with("vmrig 4242-99-"));
  CHECK(host.network.links.at("a-net0").alias != host.network.links.at("a-net1").alias);
  const UndoReport report = lease.undo();
  CHECK(report.complete());
  CHECK(is_as_new(host));
  for (const UndoLine& line : report.lines) CHECK(line.result == UndoLine::Result::kPutBack);
}

TEST_CASE("after a crash at any step of making or unmaking a network, recovery leaves nothing") {
  for (const bool in_undo : {false, true}) {
    int crashes = 0;
    for (int step = 1;; ++step) {
      CAPTURE(in_undo);
      CAPTURE(step);
      const test::TemporaryFolder folder;
      CrashPlan::instance().never();
      testing::PlainHost host = a_host();
      bool crashed = false;
      if (!in_undo) CrashPlan::instance().crash_at(step);
      try {
        HostLease lease(host, folder / "journal", kOwner);
        for (const HostAction& action : a_launch()) lease.apply(action);
        if (in_undo) CrashPlan::instance().crash_at(step);
        lease.undo();
      } catch (const Crash&) {
        crashed = true;
      }
      CrashPlan::instance().never();
      const UndoReport report = recover_journal(host, folder / "journal", kOther);
      CHECK(report.complete());
      CHECK_MESSAGE(is_as_new(host), links_of(host));
      if (!crashed) break;
      ++crashes;
    }
    CHECK(crashes > 20);
  }
}

TEST_CASE("devices of somebody else's with the same names are refused or left") {
  const test::TemporaryFolder folder;
  testing::PlainHost host = a_host();
  host.network.add("a-net0", "tun");
  HostLease lease(host, folder / "journal", kOwner);
  CHECK_THROWS_AS(lease.apply(kTap), Error);
  CHECK(lease.held().empty());
  host.network.links.erase("a-net0");
  for (const HostAction& action : {HostAction(kTap), HostAction(kMacvtap)}) lease.apply(action);
  // Somebody removed ours and made others.
  host.network.add("a-net0", "tun", "mine");
  host.network.add("a-net1", "macvtap");
  const std::string theirs = links_of(host);
  const UndoReport report = lease.undo();
  CHECK(line_of(report, "tap").result == UndoLine::Result::kLeft);
  CHECK(line_of(report, "macvtap").result == UndoLine::Result::kLeft);
  CHECK(links_of(host) == theirs);
}

TEST_CASE(
    "a tap of another VM that has taken over the name is not removed by the first's journal") {
  const test::TemporaryFolder folder;
  testing::PlainHost host = a_host();
  HostLease first(host, folder / "first", kOwner);
  HostLease second(host, folder / "second", kOther);
  first.apply(kTap);
  host.network.links.erase("a-net0");
  second.apply(kTap);
  CHECK(first.undo().lines.at(0).result == UndoLine::Result::kLeft);
  CHECK(host.network.links.count("a-net0") == 1);
  CHECK(second.undo().lines.at(0).result == UndoLine::Result::kPutBack);
}

TEST_CASE("a shared bridge goes with its last user") {
  const test::TemporaryFolder folder;
  testing::PlainHost host = a_host();
  HostLease first(host, folder / "first", kOwner);
  HostLease second(host, folder / "second", kOther);
  first.apply(kBridge);
  second.apply(kBridge);
  UndoRules rules;
  rules.others_share = [&](const HostAction& action) { return action == HostAction(kBridge); };
  CHECK(line_of(first.undo(rules), "bridge").result == UndoLine::Result::kLeft);
  CHECK(host.network.links.count("br0") == 1);
  CHECK(line_of(second.undo(), "bridge").result == UndoLine::Result::kPutBack);
  CHECK(host.network.links.count("br0") == 0);
}

TEST_CASE("a bridge that somebody else put a port on stays, and its user is told") {
  const test::TemporaryFolder folder;
  testing::PlainHost host = a_host();
  HostLease lease(host, folder / "journal", kOwner);
  lease.apply(kBridge);
  host.network.links.at("eth0").master = "br0";
  const UndoReport report = lease.undo();
  CHECK(line_of(report, "bridge").result == UndoLine::Result::kLeft);
  CHECK(line_of(report, "bridge").text == "br0 stays: eth0 uses it");
  CHECK(host.network.links.count("br0") == 1);
}

TEST_CASE("a bridge that was there without vmrig is used and never removed") {
  const test::TemporaryFolder folder;
  testing::PlainHost host = a_host();
  host.network.add("br0", "bridge");
  HostLease lease(host, folder / "journal", kOwner);
  lease.apply(kBridge);
  CHECK(line_of(lease.undo(), "bridge").result == UndoLine::Result::kAsBefore);
  CHECK(host.network.links.count("br0") == 1);
}

TEST_CASE("a port goes back to the bridge and the VLANs that it had, unless somebody moved it") {
  const test::TemporaryFolder folder;
  testing::PlainHost host = a_host();
  host.network.add("br0", "bridge");
  host.network.add("br1", "bridge");
  host.network.add("a-net0", "tun");
  host.network.links.at("a-net0").master = "br1";
  host.network.vlans["a-net0"] = {{1, true, true}};
  HostLease lease(host, folder / "journal", kOwner);
  lease.apply(kJoin);
  CHECK(host.network.vlans["a-net0"] == std::vector<PortVlan>{{7, true, true}});
  CHECK(line_of(lease.undo(), "join").text == "a-net0 is a port of br1 again");
  CHECK(host.network.links.at("a-net0").master == "br1");
  CHECK(host.network.vlans["a-net0"] == std::vector<PortVlan>{{1, true, true}});

  lease.apply(kJoin);
  host.network.links.at("a-net0").master = "";
  CHECK(line_of(lease.undo(), "join").result == UndoLine::Result::kLeft);
  CHECK(host.network.links.at("a-net0").master.empty());
}

TEST_CASE("a limit on a device that has one of somebody else's is refused, and nothing journaled") {
  const test::TemporaryFolder folder;
  testing::PlainHost host = a_host();
  host.network.add("a-net0", "tun");
  host.network.rates["a-net0"].foreign_root = "htb";
  HostLease lease(host, folder / "journal", kOwner);
  CHECK_THROWS_WITH_AS(lease.apply(kRate), doctest::Contains("htb"), Error);
  CHECK(lease.held().empty());
}

TEST_CASE("an address that was there before stays") {
  const test::TemporaryFolder folder;
  testing::PlainHost host = a_host();
  const SetAddress action{"eth0", "10.1.0.1/30"};
  host.network.addresses.insert({"eth0", "10.1.0.1/30"});
  HostLease lease(host, folder / "journal", kOwner);
  lease.apply(action);
  CHECK(lease.undo().lines.at(0).result == UndoLine::Result::kAsBefore);
  CHECK(host.network.addresses.size() == 1);
}

TEST_CASE("an Open vSwitch port that another made is refused before and left after") {
  const test::TemporaryFolder folder;
  testing::PlainHost host = a_host();
  HostLease lease(host, folder / "journal", kOwner);
  host.network.ovs["a-net0"] = {"ovs1", ""};
  CHECK_THROWS_WITH_AS(lease.apply(kOvsPort), doctest::Contains("ovs1"), Error);
  host.network.ovs.clear();
  lease.apply(kOvsPort);
  host.network.ovs["a-net0"] = {"ovs0", ""};
  CHECK(lease.undo().lines.at(0).result == UndoLine::Result::kLeft);
  CHECK(host.network.ovs.size() == 1);
}
