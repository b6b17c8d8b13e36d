// QEMUs without a supervisor: which go on, which end, and how they are found.
#include "launcher/orphans.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>

#include <string>
#include <vector>

#include "hostcfg/base/error.hpp"
#include "launcher/spawn.hpp"
#include "tests/support/temp_folder.hpp"
#include "tests/unit/file_size_limit.hpp"

using namespace vmrig;
using namespace vmrig::testing;

namespace {

struct Life {
  RunState state = RunState::kRunning;
  bool outlives = true;
};

// A VM whose supervisor is gone; a `sleep` stands in for its QEMU.
class Orphan {
 public:
  explicit Orphan(const Life& life) {
    SpawnRequest request;
    request.argv = {"/bin/sleep", "600"};
    VmState state;
    state.name = "o";
    state.state = life.state;
    state.qemu_outlives_supervisor = life.outlives;
    const VmFolder vm = root.claim(root.lock(), state);
    const Fd record = vm.open_qemu_record();
    request.record = record.get();
    child = spawn(request);
  }
  Orphan(const Orphan&) = delete;
  Orphan& operator=(const Orphan&) = delete;
  ~Orphan() {
    send_signal(child.pidfd.get(), SIGKILL);
    (void)wait_for_exit(child.pidfd.get(), qmp::kNoDeadline);
    (void)reap(child.pidfd.get());
  }
  VmEntry entry() const { return *root.find("o"); }
  bool has_ended() const { return wait_for_exit(child.pidfd.get(), qmp::Deadline{}); }

  TempFolder folder;
  StateRoot root = StateRoot::open(folder / "state");
  Child child;
};

qmp::Deadline soon() { return qmp::deadline_in(std::chrono::seconds(10)); }

}  // namespace

TEST_CASE("a QEMU that its supervisor had no time to name is known by its own record") {
  const Orphan vm({.state = RunState::kStarting});
  const VmEntry entry = vm.entry();
  REQUIRE(entry.state);
  CHECK(entry.state->qemu == vm.child.identity);
  CHECK(entry.qemu_alive);
  CHECK(entry.condition == VmCondition::kOrphaned);
  // Its name is not free, and its folder is not to be cleaned.
  VmState again;
  again.name = "o";
  CHECK_THROWS_AS((void)StateRoot::open(vm.folder / "state").claim(vm.root.lock(), again), Error);
}

TEST_CASE("a record that can't be written keeps the program from being executed") {
  const TempFolder folder;
  StateRoot root = StateRoot::open(folder / "state");
  VmState state;
  state.name = "o";
  const VmFolder vm = root.claim(root.lock(), state);
  const Fd record = vm.open_qemu_record();
  SpawnRequest request;
  request.argv = {"/bin/sleep", "600"};
  request.record = record.get();
  std::string told;
  {
    const FileSizeLimit full(0);
    try {
      (void)spawn(request);
    } catch (const Error& error) {
      told = error.what();
    }
  }
  CHECK_MESSAGE(told.find("record the process of \"/bin/sleep\"") != std::string::npos, told);
}

TEST_CASE("a VM that runs and may live without a supervisor is an orphan, and is not ended") {
  const Orphan vm({});
  CHECK(is_orphan(vm.entry()));
  CHECK_FALSE(is_doomed(vm.entry()));
  CHECK(end_doomed({vm.entry()}, soon()));
  CHECK_FALSE(vm.has_ended());
}

TEST_CASE("a QEMU whose guest has never run, or that was to end with its supervisor, is ended") {
  for (const Life& life : std::vector<Life>{{.state = RunState::kStarting},
                                            {.state = RunState::kPaused, .outlives = false}}) {
    const Orphan vm(life);
    CHECK(is_doomed(vm.entry()));
    CHECK_FALSE(is_orphan(vm.entry()));
    CHECK(end_doomed({vm.entry()}, soon()));
    CHECK(vm.has_ended());
    CHECK_FALSE(vm.entry().living());
    CHECK_FALSE(is_doomed(vm.entry()));
  }
}
