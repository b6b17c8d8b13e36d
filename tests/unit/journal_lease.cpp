// Applying and undoing on a host of variables, with a crash wherever one could happen.
#include <doctest/doctest.h>

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "hostcfg/base/error.hpp"
#include "hostcfg/checkpoint.hpp"
#include "hostcfg/host_lease.hpp"
#include "hostcfg_support.hpp"
#include "tests/unit/crash_plan.hpp"
#include "tests/unit/fake_access.hpp"
#include "tests/unit/fake_cgroups.hpp"
#include "tests/unit/fake_memory.hpp"
#include "tests/unit/fake_net.hpp"

using namespace vmrig;
using testing::Crash;
using testing::CrashPlan;

// Stands in for the one of the library in this test program.
void vmrig::checkpoint(const char* /*where*/) { CrashPlan::instance().pass(); }

namespace {

const PciAddress kPf{0, 0x3b, 0, 1};
const PciAddress kVf0{0, 0x3b, 0x10, 1};
const JournalOwner kOwner{"boot-1", 4242, 99};
constexpr const char* kNoMac = "00:00:00:00:00:00";

struct FakeState {
  std::map<PciAddress, DriverState> drivers;
  std::map<int, VfRecord> records;
  int vfs = 0;
  bool vfio_loaded = false;
  bool operator==(const FakeState&) const = default;
};

VfRecord fresh_record(int index) {
  VfRecord record;
  record.index = index;
  record.mac = kNoMac;
  record.vlan_proto = "802.1Q";
  record.trust = false;
  record.spoofchk = true;
  record.link_state = "auto";
  return record;
}

// The kernel's part: each step of a bind is one, and a crash can fall between any two.
class FakeHost final : public HostControl {
 public:
  FakeState state;
  std::vector<std::string> log;
  std::string refuse;  // the call of this name fails
  std::vector<std::string> holders;

  bool is_module_loaded(const std::string&) override { return state.vfio_loaded; }
  void load_module(const std::string&) override {
    effect("load", [this] { state.vfio_loaded = true; });
  }
  int vf_count(const PciAddress&) override { return state.vfs; }
  void set_vf_count(const PciAddress&, int count) override {
    if (state.vfs > 0 && count > 0) effect("count", [this] { remove_vfs(); });
    effect("count", [this, count] {
      remove_vfs();
      state.vfs = count;
      for (int index = 0; index < count; ++index) {
        state.records[index] = fresh_record(index);
        state.drivers[address(index)] = {"ixgbevf", ""};
      }
    });
  }
  std::vector<std::string> vf_holders(const PciAddress&) override { return holders; }
  std::optional<PciAddress> vf_address(const PciAddress&, int index) override {
    return index < state.vfs ? std::optional(address(index)) : std::nullopt;
  }
  VfRecord vf_record(const PciAddress&, int index) override { return state.records.at(index); }
  void set_vf(const PciAddress&, int index, const VfSettings& settings) override {
    VfRecord& record = state.records.at(index);
    if (settings.spoofchk) effect("vf", [&] { record.spoofchk = settings.spoofchk; });
    if (settings.trust) effect("vf", [&] { record.trust = settings.trust; });
    if (settings.mac) effect("vf", [&] { record.mac = *settings.mac; });
    if (settings.vlan) effect("vf", [&] { record.vlan = *settings.vlan; });
  }
  std::optional<DriverState> driver_state(const PciAddress& device) override {
    if (device == kPf) return DriverState{"ixgbe", ""};
    const auto found = state.drivers.find(device);
    return found == state.drivers.end() ? std::nullopt : std::optional(found->second);
  }
  void bind_driver(const PciAddress& device, const std::string& driver) override {
    DriverState& now = state.drivers.at(device);
    effect("override", [&] { now.driver_override = driver; });
    effect("unbind", [&] { now.driver.clear(); });
    effect("bind", [&] { now.driver = driver; });
  }
  void unbind_driver(const PciAddress& device) override {
    effect("unbind", [&] { state.drivers.at(device).driver.clear(); });
  }
  void restore_driver(const PciAddress& device, const DriverState& old) override {
    DriverState& now = state.drivers.at(device);
    if (now.driver != old.driver && !now.driver.empty()) {
      effect("unbind", [&] { now.driver.clear(); });
    }
    effect("override", [&] { now.driver_override = old.driver_override; });
    effect("bind", [&] { now.driver = old.driver; });
  }

  NetControl& net() override { return network; }
  CgroupControl& cgroups() override { return groups; }
  testing::FakeCgroups groups;
  MemoryControl& memory() override { return pools; }
  AccessControl& access() override { return files; }
  testing::FakeAccess files;
  testing::FakeMemory pools;
  testing::FakeNet network;

  static PciAddress address(int index) {
    return {0, 0x3b, 0x10, static_cast<std::uint8_t>(1 + 2 * index)};
  }

 private:
  void remove_vfs() {
    state.vfs = 0;
    state.records.clear();
    state.drivers.clear();
  }
  void effect(const std::string& name, const std::function<void()>& change) {
    checkpoint("before");
    log.push_back(name);
    if (refuse == name) {
      throw Error({.status = ExitStatus::kHost,
                   .operation = name,
                   .object = {},
                   .cause = "no",
                   .mend = {}});
    }
    change();
    checkpoint("after");
  }
};

VfSettings wanted_settings() {
  VfSettings settings;
  settings.mac = "52:54:00:2d:87:99";
  settings.trust = true;
  settings.spoofchk = false;
  settings.vlan = 7;
  return settings;
}

std::vector<HostAction> a_launch() {
  return {LoadModule{"vfio-pci"}, SetVfCount{kPf, 2}, SetVf{kPf, 0, wanted_settings()},
          BindDriver{kVf0, "vfio-pci"}};
}

// A launch on VFs that are there already, so that their records have to come back.
std::vector<HostAction> a_launch_on_old_vfs() {
  return {SetVf{kPf, 0, wanted_settings()}, BindDriver{kVf0, "vfio-pci"}};
}

FakeHost host_with_vfs() {
  FakeHost host;
  host.set_vf_count(kPf, 2);
  host.state.records.at(0).mac = "8e:df:08:c1:d1:de";
  host.log.clear();
  return host;
}

std::string text_of(const UndoReport& report) {
  std::string text;
  for (const UndoLine& line : report.lines) text += line.text + "\n";
  return text;
}

UndoLine::Result result_of(const UndoReport& report, std::string_view kind) {
  for (const UndoLine& line : report.lines) {
    if (action_kind(line.action) == kind) return line.result;
  }
  FAIL("no line about " << kind);
  return UndoLine::Result::kFailed;
}

}  // namespace

TEST_CASE("a launch is undone in an order that lets the old driver find the old settings") {
  const test::TemporaryFolder folder;
  FakeHost host = host_with_vfs();
  const FakeState before = host.state;
  HostLease lease(host, folder / "journal", kOwner);
  for (const HostAction& action : a_launch_on_old_vfs()) lease.apply(action);
  CHECK(host.state.drivers.at(kVf0) == DriverState{"vfio-pci", "vfio-pci"});
  CHECK(host.state.records.at(0).mac == "52:54:00:2d:87:99");
  CHECK(lease.held().size() == 2);
  host.log.clear();
  const UndoReport report = lease.undo();
  CHECK(report.complete());
  CHECK(host.state == before);
  CHECK(lease.held().empty());
  CHECK(host.log == std::vector<std::string>{"unbind", "vf", "vf", "vf", "vf", "override", "bind"});
  CHECK(lease.undo().lines.empty());
}

TEST_CASE("applying an action twice journals and does it once") {
  const test::TemporaryFolder folder;
  FakeHost host = host_with_vfs();
  HostLease lease(host, folder / "journal", kOwner);
  lease.apply(BindDriver{kVf0, "vfio-pci"});
  const std::size_t steps = host.log.size();
  lease.apply(BindDriver{kVf0, "vfio-pci"});
  CHECK(host.log.size() == steps);
  CHECK(lease.undo().lines.size() == 1);
  CHECK(host.state.drivers.at(kVf0) == DriverState{"ixgbevf", ""});
}

TEST_CASE("what was intended is applied with the old state of that time, or withdrawn") {
  const test::TemporaryFolder folder;
  FakeHost host;
  HostLease lease(host, folder / "journal", kOwner);
  const SetVfCount two{kPf, 2};
  lease.intend(two);
  lease.intend(two);
  CHECK(host.state.vfs == 0);
  CHECK(lease.held() == std::vector<HostAction>{two});
  lease.withdraw(two);
  CHECK(lease.held().empty());
  lease.intend(two);
  host.set_vf_count(kPf, 2);
  lease.apply(two);
  CHECK(lease.undo().lines.size() == 1);
  CHECK(host.state.vfs == 0);
}

TEST_CASE("after a crash at any step of a launch, recovery gives the old state back") {
  for (const bool old_vfs : {false, true}) {
    int crashes = 0;
    for (int step = 1;; ++step) {
      CAPTURE(old_vfs);
      CAPTURE(step);
      const test::TemporaryFolder folder;
      CrashPlan::instance().never();
      FakeHost host = old_vfs ? host_with_vfs() : FakeHost{};
      FakeState before = host.state;
      CrashPlan::instance().crash_at(step);
      bool crashed = false;
      try {
        HostLease lease(host, folder / "journal", kOwner);
        for (const HostAction& action : old_vfs ? a_launch_on_old_vfs() : a_launch()) {
          lease.apply(action);
        }
      } catch (const Crash&) {
        crashed = true;
      }
      CrashPlan::instance().never();
      if (!crashed) break;
      ++crashes;
      const UndoReport report = recover_journal(host, folder / "journal", {"boot-1", 5, 5});
      before.vfio_loaded = host.state.vfio_loaded;  // a module stays
      CHECK_MESSAGE(host.state == before, text_of(report));
      CHECK(report.complete());
      CHECK(report.problems.empty());
      CHECK(recover_journal(host, folder / "journal", {"boot-1", 6, 6}).lines.empty());
    }
    CHECK(crashes > 15);
  }
}

TEST_CASE("after crashes at any step of the undoing, another recovery finishes it") {
  int crashes = 0;
  for (int step = 1;; ++step) {
    CAPTURE(step);
    const test::TemporaryFolder folder;
    CrashPlan::instance().never();
    FakeHost host = host_with_vfs();
    const FakeState before = host.state;
    {
      HostLease lease(host, folder / "journal", kOwner);
      for (const HostAction& action : a_launch_on_old_vfs()) lease.apply(action);
    }
    CrashPlan::instance().crash_at(step);
    bool crashed = false;
    try {
      recover_journal(host, folder / "journal", {"boot-1", 5, 5});
    } catch (const Crash&) {
      crashed = true;
    }
    CrashPlan::instance().never();
    if (!crashed) break;
    ++crashes;
    const UndoReport report = recover_journal(host, folder / "journal", {"boot-1", 6, 6});
    CHECK_MESSAGE(host.state == before, text_of(report));
    CHECK(report.complete());
  }
  CHECK(crashes > 10);
}

TEST_CASE("what is no longer ours is left and reported") {
  const test::TemporaryFolder folder;
  FakeHost host = host_with_vfs();
  HostLease lease(host, folder / "journal", kOwner);
  for (const HostAction& action : a_launch_on_old_vfs()) lease.apply(action);
  // An administrator took the VF back and set it up.
  host.state.drivers.at(kVf0) = {"igb_uio", ""};
  host.state.records.at(0).mac = "02:00:00:00:00:77";
  const FakeState theirs = host.state;
  const UndoReport report = lease.undo();
  CHECK(result_of(report, "bind") == UndoLine::Result::kLeft);
  CHECK(result_of(report, "vf") == UndoLine::Result::kLeft);
  CHECK(text_of(report).find("igb_uio") != std::string::npos);
  CHECK(text_of(report).find("02:00:00:00:00:77") != std::string::npos);
  CHECK(host.state.drivers == theirs.drivers);
  CHECK(host.state.records.at(0).mac == theirs.records.at(0).mac);
  // What they did not touch is still ours, and goes back.
  CHECK(host.state.records.at(0).trust == false);
  CHECK(host.state.records.at(0).vlan == 0);
  CHECK(lease.held().empty());
}

TEST_CASE("a MAC that a trusted guest has changed is put back while the VF is ours") {
  const test::TemporaryFolder folder;
  FakeHost host = host_with_vfs();
  const FakeState before = host.state;
  HostLease lease(host, folder / "journal", kOwner);
  for (const HostAction& action : a_launch_on_old_vfs()) lease.apply(action);
  host.state.records.at(0).mac = "02:00:00:00:00:99";
  CHECK(lease.undo().complete());
  CHECK(host.state == before);
}

TEST_CASE("VFs stay as long as another VM or somebody on the host uses one") {
  const test::TemporaryFolder folder;
  FakeHost host;
  HostLease lease(host, folder / "journal", kOwner);
  lease.apply(SetVfCount{kPf, 2});
  UndoRules rules;
  SUBCASE("another VM") {
    rules.others_use_vfs_of = [](const PciAddress& pf) { return pf == kPf; };
    const UndoReport report = lease.undo(rules);
    CHECK(result_of(report, "vfs") == UndoLine::Result::kLeft);
    CHECK(host.state.vfs == 2);
  }
  SUBCASE("a driver of userspace") {
    host.holders = {"0000:3b:10.3 is on vfio-pci"};
    const UndoReport report = lease.undo(rules);
    CHECK(result_of(report, "vfs") == UndoLine::Result::kLeft);
    CHECK(text_of(report).find("0000:3b:10.3 is on vfio-pci") != std::string::npos);
    CHECK(host.state.vfs == 2);
  }
  SUBCASE("an administrator has made more of them") {
    host.set_vf_count(kPf, 5);
    CHECK(result_of(lease.undo(rules), "vfs") == UndoLine::Result::kLeft);
    CHECK(host.state.vfs == 5);
  }
  SUBCASE("nobody") {
    CHECK(result_of(lease.undo(rules), "vfs") == UndoLine::Result::kPutBack);
    CHECK(host.state.vfs == 0);
  }
}

TEST_CASE("VFs that two VMs share are taken away by the one that ends last") {
  const test::TemporaryFolder folder;
  FakeHost host;
  HostLease first(host, folder / "first", kOwner);
  first.apply(SetVfCount{kPf, 2});
  const auto journal = read_journal(folder / "first");
  REQUIRE(journal);
  HostLease second(host, folder / "second", {"boot-1", 5, 5});
  second.adopt(journal->entries.at(0).action, journal->entries.at(0).old);
  UndoRules shared;
  shared.others_use_vfs_of = [](const PciAddress&) { return true; };
  CHECK(result_of(first.undo(shared), "vfs") == UndoLine::Result::kLeft);
  CHECK(host.state.vfs == 2);
  CHECK(result_of(second.undo(), "vfs") == UndoLine::Result::kPutBack);
  CHECK(host.state.vfs == 0);
}

TEST_CASE("an action that the host refuses is undone as far as it came") {
  const test::TemporaryFolder folder;
  FakeHost host = host_with_vfs();
  const FakeState before = host.state;
  HostLease lease(host, folder / "journal", kOwner);
  host.refuse = "bind";
  CHECK_THROWS_AS(lease.apply(BindDriver{kVf0, "vfio-pci"}), Error);
  CHECK(host.state.drivers.at(kVf0) == DriverState{"", "vfio-pci"});
  // Giving back fails at first too, stays open, and works when the host lets it.
  UndoReport report = lease.undo();
  CHECK_FALSE(report.complete());
  CHECK(lease.held().size() == 1);
  host.refuse.clear();
  CHECK(lease.undo().complete());
  CHECK(host.state == before);
}

TEST_CASE("a device that was without a driver, or reserved for one, is so again") {
  const test::TemporaryFolder folder;
  FakeHost host = host_with_vfs();
  HostLease lease(host, folder / "journal", kOwner);
  for (const DriverState& old :
       {DriverState{"", ""}, DriverState{"", "pci-stub"}, DriverState{"vfio-pci", ""},
        DriverState{"ixgbevf", "ixgbevf"}, DriverState{"vfio-pci", "vfio-pci"}}) {
    CAPTURE(old.driver);
    CAPTURE(old.driver_override);
    host.state.drivers.at(kVf0) = old;
    lease.apply(BindDriver{kVf0, "vfio-pci"});
    CHECK(host.state.drivers.at(kVf0) == DriverState{"vfio-pci", "vfio-pci"});
    CHECK(lease.undo().complete());
    CHECK(host.state.drivers.at(kVf0) == old);
  }
}

TEST_CASE("devices that are gone need no undoing") {
  const test::TemporaryFolder folder;
  FakeHost host = host_with_vfs();
  HostLease lease(host, folder / "journal", kOwner);
  for (const HostAction& action : a_launch_on_old_vfs()) lease.apply(action);
  host.state = {};
  const UndoReport report = lease.undo();
  CHECK(report.complete());
  CHECK(result_of(report, "bind") == UndoLine::Result::kAsBefore);
  CHECK(result_of(report, "vf") == UndoLine::Result::kAsBefore);
}

TEST_CASE("a restart of the host has undone everything, and no journal means nothing") {
  const test::TemporaryFolder folder;
  FakeHost host = host_with_vfs();
  {
    HostLease lease(host, folder / "journal", kOwner);
    lease.apply(BindDriver{kVf0, "vfio-pci"});
  }
  const FakeState before = host.state;
  CHECK(recover_journal(host, folder / "journal", {"boot-2", 1, 1}).lines.empty());
  CHECK(recover_journal(host, folder / "absent", kOwner).lines.empty());
  CHECK(host.state == before);
}

TEST_CASE("one of several devices can be given back alone, by a later process too") {
  const test::TemporaryFolder folder;
  const PciAddress other = FakeHost::address(1);
  FakeHost host = host_with_vfs();
  {
    HostLease lease(host, folder / "journal", kOwner);
    lease.apply(BindDriver{kVf0, "vfio-pci"});
  }
  HostLease lease(host, folder / "journal", {"boot-1", 5, 5});
  lease.apply(BindDriver{other, "vfio-pci"});
  UndoRules rules;
  rules.only = [](const HostAction& action) {
    return action == HostAction(BindDriver{kVf0, "vfio-pci"});
  };
  CHECK(lease.undo(rules).lines.size() == 1);
  CHECK(host.state.drivers.at(kVf0).driver == "ixgbevf");
  CHECK(host.state.drivers.at(other).driver == "vfio-pci");
  CHECK(lease.held() == std::vector<HostAction>{BindDriver{other, "vfio-pci"}});
}
