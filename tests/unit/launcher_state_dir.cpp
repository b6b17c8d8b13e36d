#include <doctest/doctest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "hostcfg/base/error.hpp"
#include "launcher/spawn.hpp"
#include "launcher/state_dir.hpp"
#include "tests/support/temp_folder.hpp"

using namespace vmrig;
using vmrig::testing::read_text;
using vmrig::testing::TempFolder;
using vmrig::testing::write_text;

namespace {

VmState named(const std::string& name) {
  VmState state;
  state.name = name;
  state.claim.vm = name;
  return state;
}

VmFolder claim(StateRoot& root, VmState state) {
  const StateRoot::Lock lock = root.lock();
  return root.claim(lock, state);
}

// A process that stands in for a QEMU.
class Sleeper {
 public:
  Sleeper() : child_(start()) {}
  Sleeper(const Sleeper&) = delete;
  Sleeper& operator=(const Sleeper&) = delete;
  ~Sleeper() { end(); }
  const ProcessIdentity& identity() const { return child_.identity; }
  void end() {
    if (!child_.pidfd) return;
    send_signal(child_.pidfd.get(), SIGKILL);
    (void)wait_for_exit(child_.pidfd.get(), qmp::kNoDeadline);
    (void)reap(child_.pidfd.get());
    child_.pidfd.reset();
  }

 private:
  static Child start() {
    SpawnRequest request;
    request.argv = {"/bin/sleep", "600"};
    return spawn(request);
  }
  Child child_;
};

mode_t mode_of(const std::string& path) {
  struct stat status {};
  REQUIRE(::lstat(path.c_str(), &status) == 0);
  return status.st_mode & 07777;
}

}  // namespace

TEST_CASE("the state folder is /run/vmrig for root and in XDG_RUNTIME_DIR for others") {
  CHECK(default_state_folder(0, "/ignored") == "/run/vmrig");
  CHECK(default_state_folder(1000, "/run/user/1000") == "/run/user/1000/vmrig");
  CHECK_THROWS_AS((void)default_state_folder(1000, ""), Error);
  CHECK_THROWS_AS((void)default_state_folder(1000, "relative"), Error);
}

TEST_CASE("a claimed VM is listed as starting, with private files") {
  const TempFolder folder;
  StateRoot root = StateRoot::open(folder / "state");
  const VmFolder vm = claim(root, named("one"));
  CHECK(vm.is_claimed());
  const std::vector<VmEntry> entries = root.list();
  REQUIRE(entries.size() == 1);
  CHECK(entries[0].name == "one");
  CHECK(entries[0].condition == VmCondition::kStarting);
  CHECK(entries[0].supervisor_alive);
  REQUIRE(entries[0].state.has_value());
  CHECK(entries[0].state->supervisor.pid == ::getpid());
  CHECK(mode_of(vm.path()) == 0700);
  CHECK(mode_of(vm.path_of("state.json")) == 0600);
  CHECK(mode_of(vm.path_of("lock")) == 0600);
}

TEST_CASE("a name that runs is busy, and the error names the pid and the mend") {
  const TempFolder folder;
  StateRoot root = StateRoot::open(folder / "state");
  const VmFolder vm = claim(root, named("one"));
  try {
    (void)claim(root, named("one"));
    FAIL("claimed twice");
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::kBusy);
    CHECK(error.parts().cause.find(std::to_string(::getpid())) != std::string::npos);
    CHECK(error.parts().mend == "vmrig stop one");
  }
}

TEST_CASE("bad names and symlinks in a VM's place are refused") {
  const TempFolder folder;
  StateRoot root = StateRoot::open(folder / "state");
  for (const char* name : {"", ".", "..", "a/b", "../x", ".hidden", "-x", "a b"}) {
    CAPTURE(name);
    CHECK_THROWS_AS((void)claim(root, named(name)), Error);
  }
  std::filesystem::create_directory(folder / "elsewhere");
  std::filesystem::create_symlink(folder / "elsewhere", folder / "state/link");
  CHECK_THROWS_AS((void)claim(root, named("link")), Error);
  CHECK(std::filesystem::is_empty(folder / "elsewhere"));
  CHECK(root.list().empty());
}

TEST_CASE("a folder whose supervisor and QEMU are dead is stale, and is cleaned") {
  const TempFolder folder;
  StateRoot root = StateRoot::open(folder / "state");
  { const VmFolder vm = claim(root, named("dead")); }
  REQUIRE(root.find("dead").has_value());
  CHECK(root.find("dead")->condition == VmCondition::kStale);
  CHECK(root.clean(root.lock()).removed == std::vector<std::string>{"dead"});
  CHECK_FALSE(root.find("dead").has_value());
}

TEST_CASE("a QEMU without a supervisor is orphaned, keeps its claims and its name") {
  const TempFolder folder;
  StateRoot root = StateRoot::open(folder / "state");
  Sleeper qemu;
  {
    const VmFolder vm = claim(root, named("orphan"));
    VmState state = vm.read_state();
    state.qemu = qemu.identity();
    state.claim.exclusive_cpus = CpuSet{3};
    vm.write_state(state);
  }
  CHECK(root.find("orphan")->condition == VmCondition::kOrphaned);
  CHECK(root.clean(root.lock()).removed.empty());
  REQUIRE(root.leases().size() == 1);
  CHECK(root.leases()[0].exclusive_cpus == CpuSet{3});
  CHECK_THROWS_AS((void)claim(root, named("orphan")), Error);
  qemu.end();
  CHECK(root.find("orphan")->condition == VmCondition::kStale);
  CHECK(root.leases().empty());
}

TEST_CASE("a state from before a reboot names no living process") {
  const TempFolder folder;
  StateRoot root = StateRoot::open(folder / "state");
  {
    const VmFolder vm = claim(root, named("old"));
    VmState state = vm.read_state();
    state.qemu = *identify_process(::getpid());  // the same pid and time, in another boot
    state.boot_id = "another";
    vm.write_state(state);
  }
  CHECK(root.find("old")->condition == VmCondition::kStale);
}

TEST_CASE("a VM that crashed is kept with its logs until its name is started again") {
  const TempFolder folder;
  StateRoot root = StateRoot::open(folder / "state");
  {
    const VmFolder vm = claim(root, named("bad"));
    VmState state = vm.read_state();
    state.state = RunState::kCrashed;
    vm.write_state(state);
    write_text(vm.path_of(kQemuLogName), "last words\n");
  }
  CHECK(root.find("bad")->condition == VmCondition::kCrashed);
  CHECK(root.clean(root.lock()).removed.empty());
  CHECK(root.folder("bad").read_log(kQemuLogName, 0, 100) == "last words\n");
  const VmFolder vm = claim(root, named("bad"));
  CHECK(vm.read_log(kQemuLogName, 0, 100).empty());
}

TEST_CASE("a damaged state is a problem that is told, not a crash") {
  const TempFolder folder;
  StateRoot root = StateRoot::open(folder / "state");
  const VmFolder vm = claim(root, named("one"));
  for (const char* text : {"", "{", "[]", "{\"format\":99}", "\xff\xfe"}) {
    CAPTURE(text);
    write_text(vm.path_of("state.json"), text);
    const std::optional<VmEntry> entry = root.find("one");
    REQUIRE(entry.has_value());
    CHECK_FALSE(entry->problem.empty());
    CHECK(entry->living());
    CHECK_THROWS_AS((void)root.leases(), Error);
  }
}

TEST_CASE("what state.json says comes back as it was written") {
  VmState state = named("x");
  state.state = RunState::kPaused;
  state.threads = {{.role = "vcpu", .id = "0", .tid = 12, .cpus = CpuSet{1, 2}}};
  state.serial_sockets = {"con0.sock"};
  state.claim.macs = {"52:54:00:00:00:01"};
  state.config = Json{{"name", "x"}};
  CHECK(to_json(vm_state_from_json(to_json(state))) == to_json(state));
}

TEST_CASE("sockets work in a folder whose path is too long for sun_path") {
  const TempFolder folder;
  const std::string deep = folder / std::string(120, 'd');
  std::filesystem::create_directory(deep);
  StateRoot root = StateRoot::open(deep + "/state");
  const VmFolder vm = claim(root, named("one"));
  const Fd listening = vm.listen(kQmpSocketName, 4);
  CHECK(mode_of(vm.path_of(kQmpSocketName)) == 0600);
  const Fd connected = vm.connect(kQmpSocketName, qmp::deadline_in(std::chrono::seconds(5)));
  const Fd accepted(::accept4(listening.get(), nullptr, nullptr, SOCK_CLOEXEC));
  CHECK(accepted);
  CHECK(vm.listen(kQmpSocketName, 4));  // an old one is replaced
}

TEST_CASE("a removed VM leaves nothing, and an unknown one is told with those there are") {
  const TempFolder folder;
  StateRoot root = StateRoot::open(folder / "state");
  {
    VmFolder vm = claim(root, named("one"));
    (void)vm.listen(kQmpSocketName, 4);
    vm.remove();
    CHECK_FALSE(std::filesystem::exists(vm.path()));
  }
  const VmFolder other = claim(root, named("other"));
  try {
    (void)root.folder("one");
    FAIL("found");
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::kNoSuchVm);
    CHECK(error.parts().cause.find("other") != std::string::npos);
  }
  CHECK_FALSE(StateRoot::open_existing(folder / "absent").has_value());
}

TEST_CASE("a state folder that others can enter is refused with the mend") {
  const TempFolder folder;
  std::filesystem::create_directory(folder / "open");
  ::chmod((folder / "open").c_str(), 0755);
  CHECK_THROWS_AS((void)StateRoot::open(folder / "open"), Error);
}
