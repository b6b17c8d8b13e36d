// The journal as text: what is written is read again, and what is broken is not believed.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>
#include <string>

#include "hostcfg/base/error.hpp"
#include "hostcfg/files.hpp"
#include "hostcfg/journal.hpp"
#include "hostcfg_support.hpp"

using namespace vmrig;

namespace {

constexpr std::size_t kLimit = 1 << 20;
const PciAddress kPf{0, 0x3b, 0, 1};
const PciAddress kVf{0, 0x3b, 0x10, 1};
const JournalOwner kOwner{"boot-1", 4242, 99};

OldState old_driver(const std::string& driver) {
  OldState old;
  old.driver = driver;
  return old;
}

OldState old_settings(VfSettings settings) {
  OldState old;
  old.vf = std::move(settings);
  return old;
}

VfSettings some_settings() {
  VfSettings settings;
  settings.mac = "52:54:00:2d:87:99";
  settings.vlan = 12;
  settings.vlan_proto = "802.1ad";
  settings.trust = true;
  settings.link_state = "enable";
  settings.max_rate_mbit = 1000;
  return settings;
}

std::string write_some(const std::string& path) {
  Journal journal(path, kOwner);
  const int first = journal.intent(SetVf{kPf, 0, some_settings()}, old_settings(some_settings()));
  journal.done(first);
  const int second = journal.intent(BindDriver{kVf, "vfio-pci"}, old_driver("ixgbevf"));
  journal.done(second);
  journal.undone(second);
  journal.intent(LoadModule{"vfio-pci"}, {});
  return read_small_file(path, kLimit);
}

}  // namespace

TEST_CASE("a journal gives back the actions, the old values and how far each came") {
  const test::TemporaryFolder folder;
  write_some(folder / "journal");
  const auto content = read_journal(folder / "journal");
  REQUIRE(content);
  CHECK(content->owner == kOwner);
  CHECK(content->problems.empty());
  REQUIRE(content->entries.size() == 3);
  CHECK(content->entries[0].action == HostAction(SetVf{kPf, 0, some_settings()}));
  CHECK(content->entries[0].old.vf == some_settings());
  CHECK(content->entries[0].stage == JournalEntry::Stage::kDone);
  CHECK(content->entries[1].old.driver == "ixgbevf");
  CHECK(content->entries[1].stage == JournalEntry::Stage::kUndone);
  CHECK(content->entries[2].stage == JournalEntry::Stage::kIntent);
  CHECK(content->open().size() == 2);
  struct stat status {};
  REQUIRE(::stat((folder / "journal").c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);
}

TEST_CASE("a journal torn at any byte is used up to its last whole line") {
  const test::TemporaryFolder folder;
  const std::string text = write_some(folder / "journal");
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    const JournalContent content = parse_journal(text.substr(0, cut));
    const std::size_t whole = cut == 0 ? 0 : text.rfind('\n', cut - 1) + 1;  // npos + 1 is 0
    if (content.good_bytes != whole || !content.problems.empty()) {
      CAPTURE(cut);
      CHECK(content.good_bytes == whole);
      CHECK(content.problems.empty());
    }
    // Whatever is read of an action is what was written of it.
    if (content.entries.size() > 1 && content.entries[1].old.driver != "ixgbevf") {
      FAIL("an action was read wrong at " << cut);
    }
  }
}

TEST_CASE("writing goes on behind a torn tail, and both parts are read") {
  const test::TemporaryFolder folder;
  const std::string text = write_some(folder / "journal");
  write_file_atomically(folder / "journal", text.substr(0, text.size() - 7));
  {
    Journal journal(folder / "journal", kOwner);
    CHECK(journal.intent(BindDriver{kVf, "vfio-pci"}, old_driver("ixgbevf")) == 3);
  }
  const auto content = read_journal(folder / "journal");
  REQUIRE(content);
  CHECK(content->problems.empty());
  REQUIRE(content->entries.size() == 3);
  CHECK(content->entries[2].action == HostAction(BindDriver{kVf, "vfio-pci"}));
}

TEST_CASE("any changed byte of a journal costs its line, is reported, and never changes a value") {
  const test::TemporaryFolder folder;
  const std::string text = write_some(folder / "journal");
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '\n') continue;
    std::string changed = text;
    changed[at] = changed[at] == '0' ? '1' : '0';
    const JournalContent content = parse_journal(changed);
    if (content.problems.empty()) {
      CAPTURE(at);
      CHECK_FALSE(content.problems.empty());
    }
    for (const JournalEntry& entry : content.entries) {
      if (entry.id == 1 && !(entry.old.vf == some_settings())) FAIL("a value changed at " << at);
    }
  }
}

TEST_CASE("garbage between good lines is reported with its number, and the rest is used") {
  const test::TemporaryFolder folder;
  std::string text = write_some(folder / "journal");
  const std::size_t first_end = text.find('\n') + 1;
  text.insert(first_end, "\xff\xfe nonsense\n{\"record\":\"done\",\"id\":1}\n");
  const JournalContent content = parse_journal(text);
  CHECK(content.entries.size() == 3);
  REQUIRE(content.problems.size() == 2);
  CHECK(content.problems[0].starts_with("line 2 of the journal"));
  CHECK(content.problems[1].starts_with("line 3 of the journal"));
}

TEST_CASE("a record that names a path where a driver's name belongs is not used") {
  // Else a journal could make vmrig write into any file below /sys/bus/pci/drivers.
  CHECK_THROWS_AS(
      host_action_from_json({{"kind", "bind"}, {"device", "0000:3b:10.1"}, {"driver", "../../x"}}),
      Error);
  CHECK_THROWS_AS(old_state_from_json({{"driver", "a/b"}}), Error);
  CHECK_THROWS_AS(old_state_from_json({{"driver_override", "a\nb"}}), Error);
  CHECK_THROWS_AS(host_action_from_json({{"kind", "format"}, {"device", "0000:3b:10.1"}}), Error);
  CHECK_THROWS_AS(host_action_from_json({{"kind", "vfs"}, {"pf", "0000:3b:00.1"}, {"count", -1}}),
                  Error);
}

TEST_CASE("a journal of another boot is begun anew, one with nothing open too") {
  const test::TemporaryFolder folder;
  write_some(folder / "journal");
  Journal journal(folder / "journal", {"boot-2", 1, 1});
  CHECK(journal.content().entries.empty());
  CHECK(read_journal(folder / "journal")->owner->boot_id == "boot-2");
  journal.undone(journal.intent(LoadModule{"vfio-pci"}, {}));
  const Journal next(folder / "journal", {"boot-2", 2, 2});
  CHECK(next.content().entries.empty());
}

TEST_CASE("a journal that is a symlink or no file is refused") {
  const test::TemporaryFolder folder;
  write_file_atomically(folder / "target", "");
  REQUIRE(::symlink("target", (folder / "journal").c_str()) == 0);
  CHECK_THROWS_AS(Journal(folder / "journal", kOwner), Error);
  CHECK_THROWS_AS(Journal(folder.path(), kOwner), Error);
  CHECK_FALSE(read_journal(folder / "absent").has_value());
}

TEST_CASE("an action on a device whose name the kernel would refuse is not taken from JSON") {
  for (const char* name : {"", ".", "..", "a/b", "a b", "a:b", "a%d", "sixteen-bytes-xx"}) {
    CHECK_THROWS_AS(host_action_from_json({{"kind", "tap"}, {"name", name}, {"queues", 1}}), Error);
  }
  CHECK_THROWS_AS(host_action_from_json({{"kind", "tap"}, {"name", "t"}, {"queues", 257}}), Error);
  CHECK_THROWS_AS(host_action_from_json({{"kind", "macvtap"},
                                         {"name", "m"},
                                         {"parent", "p"},
                                         {"mode", "source"},
                                         {"mac", "52:54:00:00:00:01"}}),
                  Error);
  CHECK_THROWS_AS(
      host_action_from_json(
          {{"kind", "join"}, {"device", "t"}, {"bridge", "b"}, {"trunk", Json::array({0.5})}}),
      Error);
}

TEST_CASE("every action and its old state are the same after JSON") {
  for (const HostAction& action :
       {HostAction(LoadModule{"vfio-pci"}), HostAction(SetVfCount{kPf, 4}),
        HostAction(SetVf{kPf, 3, some_settings()}), HostAction(BindDriver{kVf, "vfio-pci"}),
        HostAction(CreateBridge{"br0", "10.0.0.1/24", 1400, true}), HostAction(CreateBridge{"b"}),
        HostAction(CreateTap{"t0", 4, 64055U, 9000, "fe:54:00:00:00:01", 500}),
        HostAction(CreateTap{"t0"}), HostAction(JoinBridge{"t0", "br0", 7, {8, 9}}),
        HostAction(JoinBridge{"t0", "br0"}), HostAction(SetAddress{"t0", "2001:db8::1/64"}),
        HostAction(CreateVlan{"eth0.7", "eth0", 7}),
        HostAction(CreateMacvtap{"m0", "eth0", "vepa", "52:54:00:00:00:01", 1400}),
        HostAction(SetRate{"t0", 20'000'000, std::nullopt}),
        HostAction(AddOvsPort{"ovs0", "t0", 5, {6, 7}})}) {
    CHECK(host_action_from_json(to_json(action)) == action);
  }
  OldState old = old_settings(some_settings());
  old.loaded = true;
  old.vf_count = 2;
  old.driver = "ixgbevf";
  old.driver_override = "ixgbevf";
  old.net = {.existed = true,
             .mark = "vmrig 1",
             .master = "br0",
             .vlans = {{.id = 1, .pvid = true, .untagged = true}, {.id = 9}}};
  CHECK(old_state_from_json(to_json(old)) == old);
  CHECK(old_state_from_json(Json::object()) == OldState{});
}
