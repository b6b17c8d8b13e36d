// Actions on memory, applied and undone on pools of variables.
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

namespace {

const JournalOwner kOwner{"boot-1", 4242, 99};
const JournalOwner kOther{"boot-1", 4343, 100};
constexpr Bytes kPage = Bytes::gib(1);
const std::pair<int, Bytes> kPool{1, kPage};
const ReservePages kEight{.node = 1, .page_size = kPage, .pages = 8};
const MountHugetlbfs kMount{.path = "/run/vmrig/.hugetlbfs-1GiB", .page_size = kPage};

class MemoryHost final : public testing::PlainHost {
 public:
  MemoryHost() { pools.pools[kPool] = {.total = 3, .surplus = 0, .free = 3}; }
  std::uint64_t total() const { return pools.pools.at(kPool).total; }
};

UndoLine only_line(const UndoReport& report) {
  REQUIRE(report.lines.size() == 1);
  return report.lines.front();
}

}  // namespace

TEST_CASE("pages are added to a pool and as many are taken away again") {
  const test::TemporaryFolder folder;
  MemoryHost host;
  HostLease lease(host, folder / "journal", kOwner);
  lease.apply(kEight);
  CHECK(host.total() == 11);
  // An administrator adds five meanwhile: they stay.
  host.pools.set_pool(1, kPage, 16);
  const UndoLine line = only_line(lease.undo());
  CHECK(line.result == UndoLine::Result::kPutBack);
  CHECK(line.text == "8 1GiB pages of node 1 given back");
  CHECK(host.total() == 8);
  CHECK(lease.held().empty());
}

TEST_CASE("pages that are in use leave the pool when they come free") {
  const test::TemporaryFolder folder;
  MemoryHost host;
  HostLease lease(host, folder / "journal", kOwner);
  lease.apply(kEight);
  host.pools.pools.at(kPool).free = 0;
  CHECK(only_line(lease.undo()).result == UndoLine::Result::kPutBack);
  CHECK(host.pools.pools.at(kPool).persistent() == 3);
  CHECK(host.total() == 11);
}

TEST_CASE("a pool that can't grow as far is as before, and the error says how many came") {
  const test::TemporaryFolder folder;
  MemoryHost host;
  host.pools.most = 8;
  HostLease lease(host, folder / "journal", kOwner);
  try {
    lease.apply(kEight);
    FAIL("it has room for all");
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::kHost);
    CHECK(std::string(error.what()).find("5 came") != std::string::npos);
    CHECK(error.parts().mend.find("hugepagesz=1G hugepages=1:11") != std::string::npos);
  }
  CHECK(host.total() == 3);
  CHECK(only_line(lease.undo()).result == UndoLine::Result::kAsBefore);
  CHECK(host.total() == 3);
}

TEST_CASE("two VMs that reserve take each their own away, in any order") {
  const test::TemporaryFolder folder;
  MemoryHost host;
  HostLease first(host, folder / "first", kOwner);
  HostLease second(host, folder / "second", kOther);
  first.apply(kEight);
  second.apply(ReservePages{1, kPage, 4});
  CHECK(host.total() == 15);
  CHECK(first.undo().complete());
  CHECK(host.total() == 7);
  CHECK(second.undo().complete());
  CHECK(host.total() == 3);
}

TEST_CASE("after a crash at any step of reserving and mounting, recovery gives all back") {
  int crashes = 0;
  for (int step = 1;; ++step) {
    CAPTURE(step);
    const test::TemporaryFolder folder;
    CrashPlan::instance().never();
    MemoryHost host;
    CrashPlan::instance().crash_at(step);
    bool crashed = false;
    try {
      HostLease lease(host, folder / "journal", kOwner);
      lease.apply(kEight);
      lease.apply(kMount);
    } catch (const Crash&) {
      crashed = true;
    }
    CrashPlan::instance().never();
    if (!crashed) break;
    ++crashes;
    CHECK(recover_journal(host, folder / "journal", kOther).complete());
    CHECK(host.total() == 3);
    CHECK(host.pools.mounts.empty());
  }
  CHECK(crashes >= 10);
}

TEST_CASE("after a crash at any step of giving back, another recovery finishes it") {
  int crashes = 0;
  for (int step = 1;; ++step) {
    CAPTURE(step);
    const test::TemporaryFolder folder;
    CrashPlan::instance().never();
    MemoryHost host;
    {
      HostLease lease(host, folder / "journal", kOwner);
      lease.apply(kEight);
      lease.apply(kMount);
    }
    CrashPlan::instance().crash_at(step);
    bool crashed = false;
    try {
      recover_journal(host, folder / "journal", kOther);
    } catch (const Crash&) {
      crashed = true;
    }
    CrashPlan::instance().never();
    if (!crashed) break;
    ++crashes;
    CHECK(recover_journal(host, folder / "journal", kOther).complete());
    CHECK(host.pools.mounts.empty());
    CHECK(host.total() == 3);
  }
  CHECK(crashes >= 8);
}

TEST_CASE("what an unfinished reservation added is not told from what another VM adds there") {
  const test::TemporaryFolder folder;
  MemoryHost host;
  HostLease lease(host, folder / "journal", kOwner);
  lease.intend(kEight);
  host.pools.set_pool(1, kPage, 7);
  UndoRules rules;
  rules.others_share = [](const HostAction& action) { return action == HostAction(kEight); };
  const UndoLine line = only_line(lease.undo(rules));
  CHECK(line.result == UndoLine::Result::kLeft);
  CHECK(host.total() == 7);
}

TEST_CASE("a mount goes with its last user, and stays while somebody is in it") {
  const test::TemporaryFolder folder;
  MemoryHost host;
  HostLease lease(host, folder / "journal", kOwner);
  lease.apply(kMount);
  CHECK(host.pools.mounts.count(kMount.path) == 1);
  SUBCASE("another VM uses it") {
    UndoRules rules;
    rules.others_share = [](const HostAction&) { return true; };
    CHECK(only_line(lease.undo(rules)).result == UndoLine::Result::kLeft);
    CHECK(host.pools.mounts.size() == 1);
  }
  SUBCASE("a stranger uses it") {
    host.pools.in_use.insert(kMount.path);
    CHECK(only_line(lease.undo()).result == UndoLine::Result::kFailed);
    CHECK(host.pools.mounts.size() == 1);
    host.pools.in_use.clear();
    CHECK(only_line(lease.undo()).result == UndoLine::Result::kPutBack);
    CHECK(host.pools.mounts.empty());
  }
  SUBCASE("nobody") {
    CHECK(only_line(lease.undo()).result == UndoLine::Result::kPutBack);
    CHECK(host.pools.mounts.empty());
  }
}

TEST_CASE(
    "actions on memory come back from the journal as they were, and hostile ones are refused") {
  for (const HostAction& action : {HostAction(kEight), HostAction(kMount)}) {
    CHECK(host_action_from_json(to_json(action)) == action);
  }
  OldState old;
  old.pool_pages = 3;
  CHECK(old_state_from_json(to_json(old)) == old);
  Json odd = to_json(HostAction(kEight));
  odd["page_size"] = 3000000;
  CHECK_THROWS_AS(host_action_from_json(odd), Error);
  Json relative = to_json(HostAction(kMount));
  relative["path"] = "tmp/x";
  CHECK_THROWS_AS(host_action_from_json(relative), Error);
}
