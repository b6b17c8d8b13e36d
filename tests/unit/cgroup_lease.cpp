// Actions on cgroups, applied and undone on groups of variables, with a crash at every step.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
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
using testing::FakeCgroups;

namespace {

const JournalOwner kOwner{"boot-1", 4242, 99};
const JournalOwner kOther{"boot-1", 4343, 100};

const ShareCgroup kShare{"/cg", {"cpu", "memory"}};
const CreateCgroup kGroup{"/cg/vmrig/a", {{"cpu.weight", "50"}, {"memory.max", "1073741824"}}};
const LimitDevice kLimit{.group = "/cg/vmrig/a", .disk = "d", .device = "8:0", .read_iops = 5};

std::vector<HostAction> a_launch() { return {kShare, kGroup, kLimit}; }

// A host whose root has one controller handed on already.
testing::PlainHost a_host() {
  testing::PlainHost host;
  host.groups.groups["/cg"][FakeCgroups::kControl] = "cpu";
  host.groups.groups["/cg/system"];
  return host;
}

// One whose base is a group with processes in it, as a container's is.
testing::PlainHost a_container() {
  testing::PlainHost host;
  host.groups.root = "/elsewhere";
  host.groups.members["/cg"] = {1, 7};
  return host;
}

void launch(testing::PlainHost& host, const std::string& journal) {
  HostLease lease(host, journal, kOwner);
  for (const HostAction& action : a_launch()) lease.apply(action);
}

}  // namespace

TEST_CASE("a VM's cgroup has its limits, and is gone after its undoing") {
  const test::TemporaryFolder folder;
  testing::PlainHost host = a_host();
  const std::string before = host.groups.shown();
  HostLease lease(host, folder / "journal", kOwner);
  for (const HostAction& action : a_launch()) lease.apply(action);
  CHECK(host.groups.read("/cg", FakeCgroups::kControl) == "cpu memory");
  CHECK(host.groups.read("/cg/vmrig", FakeCgroups::kControl) == "cpu memory");
  CHECK(host.groups.read("/cg/vmrig/a", "memory.max") == "1073741824");
  CHECK(host.groups.read("/cg/vmrig/a", "io.max") == "8:0 rbps=max wbps=max riops=5 wiops=max");
  const UndoReport report = lease.undo();
  CHECK(report.complete());
  CHECK(host.groups.shown() == before);
}

TEST_CASE("after a death at each step of setting up and of undoing, recover puts cgroups back") {
  for (testing::PlainHost (*make)() : {&a_host, &a_container}) {
    int steps = 0;
    for (int step = 1;; ++step) {
      const test::TemporaryFolder folder;
      testing::PlainHost host = make();
      const std::string before = host.groups.shown();
      CrashPlan::instance().crash_at(step);
      bool has_crashed = false;
      try {
        launch(host, folder / "journal");
        recover_journal(host, folder / "journal", kOther);
      } catch (const Crash&) {
        has_crashed = true;
      }
      CrashPlan::instance().never();
      CAPTURE(step);
      const UndoReport report = recover_journal(host, folder / "journal", kOther);
      CHECK(report.complete());
      CHECK(host.groups.shown() == before);
      if (!has_crashed) break;
      steps = step;
    }
    CHECK(steps > 20);
  }
}

TEST_CASE("processes of a base that is no root are elsewhere while it hands controllers on") {
  const test::TemporaryFolder folder;
  testing::PlainHost host = a_container();
  HostLease lease(host, folder / "journal", kOwner);
  lease.apply(kShare);
  CHECK(host.groups.members["/cg"].empty());
  CHECK(host.groups.members["/cg/vmrig-host"] == std::set<pid_t>{1, 7});
  CHECK(lease.undo().complete());
  CHECK(host.groups.members["/cg"] == std::set<pid_t>{1, 7});
  CHECK_FALSE(host.groups.exists("/cg/vmrig-host"));
}

TEST_CASE("the last of two VMs takes the shared group away, whichever that is") {
  for (const bool first_ends_first : {true, false}) {
    CAPTURE(first_ends_first);
    const test::TemporaryFolder folder;
    testing::PlainHost host = a_host();
    const std::string before = host.groups.shown();
    HostLease first(host, folder / "first", kOwner);
    first.apply(kShare);
    HostLease second(host, folder / "second", kOther);
    // As the claim does: with what stood there before the first.
    second.intend(kShare, read_journal(folder / "first")->open().front()->old);
    second.apply(kShare);
    UndoRules shared;
    shared.others_share = [](const HostAction&) { return true; };
    UndoReport report = (first_ends_first ? first : second).undo(shared);
    CHECK(report.lines.front().result == UndoLine::Result::kLeft);
    CHECK(host.groups.exists("/cg/vmrig"));
    report = (first_ends_first ? second : first).undo();
    CHECK(report.complete());
    CHECK(host.groups.shown() == before);
  }
}

TEST_CASE("a group that is there already belongs to somebody else") {
  const test::TemporaryFolder folder;
  testing::PlainHost host = a_host();
  host.groups.groups["/cg/vmrig"];
  host.groups.groups["/cg/vmrig/a"];
  HostLease lease(host, folder / "journal", kOwner);
  lease.apply(kShare);
  CHECK_THROWS_WITH_AS(lease.apply(kGroup), doctest::Contains("it is there already"), Error);
  CHECK(lease.undo().complete());
  CHECK(host.groups.exists("/cg/vmrig/a"));
  // The other one's group has it now, too.
  CHECK(host.groups.read("/cg", FakeCgroups::kControl) == "cpu memory");
}

TEST_CASE("a limit that the kernel does not take names the file, and is undone") {
  const test::TemporaryFolder folder;
  testing::PlainHost host = a_host();
  const std::string before = host.groups.shown();
  host.groups.refuse = "memory.max";
  HostLease lease(host, folder / "journal", kOwner);
  lease.apply(kShare);
  CHECK_THROWS_WITH_AS(lease.apply(kGroup), doctest::Contains("/cg/vmrig/a/memory.max"), Error);
  CHECK(lease.undo().complete());
  CHECK(host.groups.shown() == before);
}

TEST_CASE("groups and controllers that others have taken up meanwhile stay") {
  const test::TemporaryFolder folder;
  testing::PlainHost host = a_host();
  HostLease lease(host, folder / "journal", kOwner);
  lease.apply(kShare);
  host.groups.groups["/cg/system"][FakeCgroups::kControl] = "memory";
  CHECK(lease.undo().lines.front().result == UndoLine::Result::kLeft);
  CHECK(host.groups.read("/cg", FakeCgroups::kControl) == "cpu memory");

  testing::PlainHost other = a_host();
  HostLease second(other, folder / "second", kOwner);
  second.apply(kShare);
  other.groups.groups["/cg/vmrig/foreign"];
  CHECK(second.undo().lines.front().result == UndoLine::Result::kLeft);
  CHECK(other.groups.exists("/cg/vmrig/foreign"));
}

TEST_CASE("actions on cgroups are refused from a journal that was tampered with") {
  const auto read = [](Json change) {
    Json json = to_json(HostAction(kGroup));
    json.update(change);
    return host_action_from_json(json);
  };
  CHECK(read(Json::object()) == HostAction(kGroup));
  CHECK_THROWS_AS(read({{"group", "/cg/../etc"}}), Error);
  CHECK_THROWS_AS(read({{"group", "relative"}}), Error);
  CHECK_THROWS_AS(read({{"settings", {{{"file", "../x"}, {"value", "1"}}}}}), Error);
  Json limit = to_json(HostAction(kLimit));
  limit["device"] = "8:0 rbps=1";
  CHECK_THROWS_AS(host_action_from_json(limit), Error);
}
