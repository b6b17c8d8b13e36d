// Access to files: given through the lease, and put back as far as it is ours.
#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <string>
#include <vector>

#include "hostcfg/base/error.hpp"
#include "hostcfg/host_lease.hpp"
#include "tests/support/temp_folder.hpp"
#include "tests/unit/crash_plan.hpp"
#include "tests/unit/plain_host.hpp"

using namespace vmrig;
using namespace vmrig::testing;

namespace {

const JournalOwner kOwner{"boot-1", 4242, 99};
const PciAddress kVf{0, 0x3b, 0x10, 1};
constexpr unsigned kUser = 1'900'000'001;
constexpr unsigned kOther = 1'900'000'002;
constexpr unsigned kReadWrite = 6;

class AccessHost final : public PlainHost {
 public:
  AccessHost() {
    files.files["/dev/kvm"] = {};
    files.files["/dev/vfio/84"] = {};
    files.files["/dev/old"] = {.has_acl = false, .entries = {}, .owner = 7};
    files.groups[kVf] = "/dev/vfio/84";
  }
};

GrantAccess grant(const std::string& path, unsigned uid = kUser) {
  return {.path = path, .uid = uid};
}

std::vector<HostAction> actions() {
  return {
      grant("/dev/kvm"), GrantAccess{.device = "net1", .pci = kVf, .uid = kUser}, grant("/dev/old"),
      GrantAccess{.device = "net2", .path = "/run/later.sock", .uid = kUser, .comes_later = true},
      MakeSocket{.device = "net3", .path = "/run/switch.sock"}};
}

void apply_all(AccessHost& host, const std::string& journal) {
  HostLease lease(host, journal, kOwner);
  for (const HostAction& action : actions()) lease.apply(action);
}

UndoReport recover(AccessHost& host, const std::string& journal,
                   const std::string& boot = "boot-1") {
  return recover_journal(host, journal, {.boot_id = boot, .pid = 5, .start_time = 1});
}

}  // namespace

TEST_CASE("what QEMU's user may use goes back to what it was, by ACL or by owner") {
  const TempFolder folder;
  AccessHost host;
  const auto before = host.files.files;
  host.files.sockets["/run/switch.sock"] = SocketState::kDead;
  apply_all(host, folder / "journal");
  CHECK(host.files.files["/dev/kvm"].entries.at(kUser) == kReadWrite);
  CHECK(host.files.files["/dev/vfio/84"].entries.at(kUser) == kReadWrite);
  CHECK(host.files.files["/dev/old"].owner == kUser);
  CHECK(host.files.sockets.empty());  // one that nobody serves stood in the way
  // QEMU listens, and has ended; the switch has made its own anew.
  host.files.sockets["/run/switch.sock"] = SocketState::kDead;
  host.files.files["/run/later.sock"] = {.entries = {{kUser, kReadWrite}}};
  CHECK(recover(host, folder / "journal").complete());
  CHECK(host.files.files.at("/run/later.sock").entries.empty());
  host.files.files.erase("/run/later.sock");
  CHECK(host.files.files == before);
  CHECK(host.files.sockets.empty());
}

TEST_CASE("after a crash at any step the files are as before") {
  for (int step = 1;; ++step) {
    const TempFolder folder;
    AccessHost host;
    const auto before = host.files.files;
    CrashPlan::instance().crash_at(step);
    bool crashed = false;
    try {
      apply_all(host, folder / "journal");
      (void)recover(host, folder / "journal");
    } catch (const Crash&) {
      crashed = true;
    }
    CrashPlan::instance().never();
    CHECK(recover(host, folder / "journal").complete());
    CHECK_MESSAGE(host.files.files == before, "after a crash at step " << step);
    if (crashed) continue;
    CHECK(step > 20);
    break;
  }
}

TEST_CASE("other users' entries, old and new, are left alone") {
  const TempFolder folder;
  AccessHost host;
  host.files.files["/dev/kvm"].entries[kOther] = 4;
  {
    HostLease lease(host, folder / "journal", kOwner);
    lease.apply(grant("/dev/kvm"));
  }
  host.files.files["/dev/kvm"].entries[kOther + 1] = kReadWrite;
  CHECK(recover(host, folder / "journal").complete());
  CHECK(host.files.files["/dev/kvm"].entries ==
        std::map<unsigned, unsigned>{{kOther, 4}, {kOther + 1, kReadWrite}});
}

TEST_CASE("a user that had a right before keeps it, and one that somebody changed is left") {
  const TempFolder folder;
  AccessHost host;
  host.files.files["/dev/kvm"].entries[kUser] = 4;
  {
    HostLease lease(host, folder / "journal", kOwner);
    lease.apply(grant("/dev/kvm"));
    CHECK(host.files.files["/dev/kvm"].entries.at(kUser) == kReadWrite);
    CHECK(lease.undo().complete());
    CHECK(host.files.files["/dev/kvm"].entries.at(kUser) == 4);
    lease.apply(grant("/dev/vfio/84"));
    host.files.files["/dev/vfio/84"].entries[kUser] = 7;
    const UndoReport report = lease.undo();
    REQUIRE(report.lines.size() == 1);
    CHECK(report.lines.front().result == UndoLine::Result::kLeft);
  }
  CHECK(host.files.files["/dev/vfio/84"].entries.at(kUser) == 7);
}

TEST_CASE("a node that has gone with its driver needs nothing to be put back") {
  const TempFolder folder;
  AccessHost host;
  {
    HostLease lease(host, folder / "journal", kOwner);
    lease.apply(GrantAccess{.device = "net1", .pci = kVf, .uid = kUser});
  }
  host.files.files.erase("/dev/vfio/84");
  host.files.groups.clear();
  const UndoReport report = recover(host, folder / "journal");
  REQUIRE(report.lines.size() == 1);
  CHECK(report.lines.front().result == UndoLine::Result::kAsBefore);
}

TEST_CASE("a node that is not there is refused, but a socket that comes later is not") {
  const TempFolder folder;
  AccessHost host;
  HostLease lease(host, folder / "journal", kOwner);
  CHECK_THROWS_WITH_AS(lease.apply(grant("/dev/absent")), doctest::Contains("there is none"),
                       Error);
  GrantAccess later = grant("/run/absent.sock");
  later.comes_later = true;
  lease.apply(later);
  host.files.sockets["/run/taken.sock"] = SocketState::kListening;
  CHECK_THROWS_WITH_AS(lease.apply(MakeSocket{.device = "net1", .path = "/run/taken.sock"}),
                       doctest::Contains("somebody listens there already"), Error);
}

TEST_CASE("what a reboot did not undo is undone after it, and nothing else") {
  const TempFolder folder;
  AccessHost host;
  host.files.files["/var/lib/switch"].survives_reboot = true;
  {
    HostLease lease(host, folder / "journal", kOwner);
    lease.apply(grant("/dev/kvm"));
    lease.apply(
        {GrantAccess{.path = "/var/lib/switch", .uid = kUser, .kind = GrantAccess::Kind::kPass}});
  }
  const UndoReport report = recover(host, folder / "journal", "boot-2");
  REQUIRE(report.lines.size() == 1);
  CHECK(host.files.files["/var/lib/switch"].entries.empty());
  CHECK(host.files.files["/dev/kvm"].entries.count(kUser) == 1);
}

TEST_CASE("actions on access are the same after a journal") {
  for (const HostAction& action : actions()) {
    CHECK(host_action_from_json(to_json(action)) == action);
  }
  OldState old;
  old.access = {.path = "/dev/kvm",
                .by = AccessOldState::By::kOwner,
                .permissions = 4,
                .owner = 9,
                .survives_reboot = true};
  CHECK(old_state_from_json(to_json(old)) == old);
  CHECK_THROWS_AS(
      (void)host_action_from_json(Json{{"kind", "access"}, {"path", "relative"}, {"uid", 1}}),
      Error);
}
