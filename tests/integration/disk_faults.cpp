// Each write, sync, rename and open of a VM's life fails once, or from then on: a clear word, and a
// host that is as before. A sample of the calls, or with VMRIG_FULL=1 all of them; and real disks
// that are full or can't be written.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/mount.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "tests/support/full_life.hpp"
#include "tests/support/full_run.hpp"
#include "tests/support/network_sandbox.hpp"
#include "tests/support/skip.hpp"

namespace {

using namespace vmrig;
using namespace vmrig::testing;

// Debugging: "EIO+:125".
std::string only() {
  const char* text = std::getenv("VMRIG_FAULT_ONLY");
  return text == nullptr ? std::string() : text;
}

struct Kind {
  const char* name;   // as in fault_point.cpp
  const char* words;  // the kernel's; null: nobody is to notice
  const char* below;  // null: the state folder
};

constexpr Kind kKinds[] = {{"ENOSPC", "No space left on device", nullptr},
                           {"ENOSPC+", "No space left on device", nullptr},
                           {"EIO", "Input/output error", nullptr},
                           {"EIO+", "Input/output error", nullptr},
                           {"EROFS", "Read-only file system", nullptr},
                           {"EROFS+", "Read-only file system", nullptr},
                           {"torn", "No space left on device", nullptr},
                           {"EINTR", nullptr, nullptr},
                           {"short", nullptr, nullptr},
                           {"EIO", "Input/output error", "/sys/"},
                           {"EINTR", nullptr, "/sys/"}};

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class Faults {
 public:
  Faults() : before_(life_.host()) {}

  std::optional<std::string> lack() const { return life_.lack(); }

  // Lives with the fault at that call; how many such calls there were.
  int live(const Kind& kind, int at) {
    const std::string what = fmt::format("{} at call {}, below {}", kind.name, at,
                                         kind.below == nullptr ? "the state folder" : kind.below);
    CAPTURE(what);
    const std::string count = life_.guard().folder() / "count";
    const std::string log = life_.guard().folder() / "calls";
    write_text(count, std::string(sizeof(int), '\0'));
    write_text(log, "");
    const std::map<std::string, std::string> environment = {
        {"VMRIG_FAULT", kind.name},
        {"VMRIG_FAULT_AT", std::to_string(at)},
        {"VMRIG_FAULT_BELOW", kind.below == nullptr ? life_.guard().state_dir() : kind.below},
        // What sysfs does not tell is a fact that is not known.
        {"VMRIG_FAULT_READS", kind.below == nullptr ? "yes" : "no"},
        {"VMRIG_FAULT_COUNT", count},
        {"VMRIG_FAULT_LOG", log}};
    for (const FullLife::Step step : FullLife::kSteps) {
      // A folder that can't even be opened any more is of no use to a command; the supervisor goes
      // on.
      const bool is_good = stays(kind) && step != FullLife::Step::kStart;
      const CommandResult result =
          is_good ? life_.take(step) : life_.take(step, test_program("vmrig_fault"), environment);
      check(kind, step, result);
      // A stop that could not even ask is told, and the VM goes on.
      if (step == FullLife::Step::kStop && (is_good || result.status == 0)) {
        // With its supervisor, which recover would find at its end otherwise, and leave to it.
        CHECK(eventually([this] { return life_.guard().processes().empty(); }));
      }
      if (step == FullLife::Step::kStart && result.status != 0) {
        CHECK(life_.guard().processes().empty());
        if (has(result.err, "vmrig recover")) break;
        check_host();
        // What can't be removed either is a dead VM's folder, without a claim.
        if (std::string_view(kind.name).starts_with("ENOSPC")) {
          CHECK(life_.guard().remains().empty());
        }
        break;
      }
    }
    INFO(call_at(log, at));
    finish();
    int calls = 0;
    std::memcpy(&calls, read_text(count).data(), sizeof(calls));
    return calls;
  }

 private:
  static bool stays(const Kind& kind) { return std::string_view(kind.name).ends_with('+'); }

  static void check(const Kind& kind, FullLife::Step step, const CommandResult& result) {
    CAPTURE(name_of(step));
    CAPTURE(result.err);
    if (!only().empty()) MESSAGE(name_of(step) << ": " << result.status << " " << result.err);
    CHECK_FALSE(result.timed_out);
    CHECK(result.took < std::chrono::seconds(25));
    if (kind.words == nullptr) {
      CHECK(result.status == 0);
    } else if (result.status != 0) {
      CHECK(has(result.err, "vmrig: "));
      // What the fault has ended is told by itself; a later step finds no VM, or no device.
      CHECK((has(result.err, kind.words) || step != FullLife::Step::kStart));
    }
  }

  void check_host() {
    const std::string difference = life_.difference_to(before_);
    CHECK_MESSAGE(difference.empty(), difference);
    if (!difference.empty()) before_ = life_.host();  // told once
  }

  // On a disk that is well again.
  void finish() {
    const CommandResult recovered = life_.guard().vmrig({"recover"});
    CHECK_MESSAGE(recovered.status == 0, recovered.out << recovered.err);
    if (!life_.guard().remains().empty()) {
      const CommandResult stopped = life_.guard().vmrig({"stop", "--all", "--force"});
      CHECK_MESSAGE(stopped.status == 0, stopped.err);
    }
    CHECK(life_.guard().nothing_left());
    check_host();
  }

  static std::string call_at(const std::string& log, int at) {
    const std::string text = read_text(log);
    std::size_t start = 0;
    for (int i = 1; i < at && start != std::string::npos; ++i) {
      start = text.find('\n', start);
      if (start != std::string::npos) ++start;
    }
    return start >= text.size() ? "" : text.substr(start, text.find('\n', start) - start);
  }

  FullLife life_;
  std::string before_;
};

#define NEED_LIFE()                                              \
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64"); \
  if (const auto lack = no_network_sandbox()) SKIP_TEST(*lack)

}  // namespace

TEST_CASE("a disk that fails at any call of a VM's life costs a clear word, and the host nothing") {
  NEED_LIFE();
  std::optional<std::string> lack;
  in_network_sandbox([&lack] {
    Faults faults;
    lack = faults.lack();
    if (lack) return;
    int lives = 0;
    int calls = 0;
    for (const Kind& kind : kKinds) {
      constexpr int kNever = 1'000'000;
      const int count = faults.live(kind, kNever);
      REQUIRE(count > 0);
      const int stride = is_full_run() || !only().empty() ? 1 : 41;
      for (int at = stride == 1 ? 1 : 1 + lives % 7; at <= count; at += stride) {
        if (!only().empty() && only() != fmt::format("{}:{}", kind.name, at)) continue;
        (void)faults.live(kind, at);
        ++lives;
      }
      calls += count;
    }
    MESSAGE(lives << " faults; there are " << calls << " that can come");
  });
  if (lack) SKIP_TEST(*lack);
}

namespace {

// A state folder on a tmpfs of its own, in this mount namespace.
class SmallDisk {
 public:
  SmallDisk(std::string folder, const std::string& size) : folder_(std::move(folder)) {
    std::filesystem::create_directories(folder_);
    const std::string options = "mode=0700,size=" + size;
    REQUIRE(::mount("test", folder_.c_str(), "tmpfs", 0, options.c_str()) == 0);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  ~SmallDisk() {
    while (::umount2(folder_.c_str(), MNT_DETACH) == 0) {
    }
  }

  // Until this is all that is free.
  void fill_to(std::uintmax_t bytes) {
    const std::uintmax_t free = std::filesystem::space(folder_).available;
    REQUIRE(free >= bytes);
    write_text(folder_ + "/.filler", std::string(free - bytes, 'x'));
    REQUIRE(std::filesystem::space(folder_).available == bytes);
  }
  void empty() { std::filesystem::remove(folder_ + "/.filler"); }

  // By a second mount over the first: what is open stays so.
  void make_read_only() {
    REQUIRE(::mount(folder_.c_str(), folder_.c_str(), nullptr, MS_BIND, nullptr) == 0);
    REQUIRE(::mount(nullptr, folder_.c_str(), nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr) ==
            0);
  }
  void make_writable() { REQUIRE(::umount2(folder_.c_str(), MNT_DETACH) == 0); }

 private:
  std::string folder_;
};

}  // namespace

TEST_CASE("on a disk that is full a start is refused, and a VM that runs is still put back") {
  NEED_LIFE();
  std::optional<std::string> lack;
  in_network_sandbox([&lack] {
    FullLife life;
    lack = life.lack();
    if (lack) return;
    SmallDisk disk(life.guard().state_dir(), "256k");
    const std::string before = life.host();
    for (const std::uintmax_t room : {0U, 4096U, 8192U, 16384U, 32768U}) {
      CAPTURE(room);
      disk.fill_to(room);
      const CommandResult refused = life.take(FullLife::Step::kStart);
      CHECK(refused.status != 0);
      CHECK_MESSAGE(has(refused.err, "No space left on device"), refused.err);
      CHECK_FALSE(has(refused.err, "vmrig recover"));
      CHECK(life.guard().processes().empty());
      CHECK(life.guard().remains() == std::vector<std::string>{".filler"});
      CHECK(life.difference_to(before).empty());
      disk.empty();
    }
    const CommandResult started = life.take(FullLife::Step::kStart);
    REQUIRE_MESSAGE(started.status == 0, started.err);
    disk.fill_to(0);
    const CommandResult refused = life.take(FullLife::Step::kAttachNic);
    CHECK(refused.status == 1);
    CHECK_MESSAGE(has(refused.err, "No space left on device"), refused.err);
    CHECK(life.disagreement().empty());
    // The room for it was kept.
    const CommandResult stopped = life.take(FullLife::Step::kStop);
    CHECK_MESSAGE(stopped.status == 0, stopped.err);
    CHECK(eventually([&life] { return life.guard().processes().empty(); }));
    CHECK(life.guard().remains() == std::vector<std::string>{".filler"});
    const std::string difference = life.difference_to(before);
    CHECK_MESSAGE(difference.empty(), difference);
  });
  if (lack) SKIP_TEST(*lack);
}

TEST_CASE("of a VM whose state folder can't be written any more all is put back but pages") {
  NEED_LIFE();
  std::optional<std::string> lack;
  in_network_sandbox([&lack] {
    FullLife life;
    lack = life.lack();
    if (lack) return;
    SmallDisk disk(life.guard().state_dir(), "1m");
    const std::string before = life.host();
    disk.make_read_only();
    const CommandResult refused = life.take(FullLife::Step::kStart);
    CHECK(refused.status == 1);
    CHECK_MESSAGE(has(refused.err, "Read-only file system"), refused.err);
    disk.make_writable();

    const CommandResult started = life.take(FullLife::Step::kStart);
    REQUIRE_MESSAGE(started.status == 0, started.err);
    disk.make_read_only();
    // The supervisor's own folder is open; the journal is not.
    (void)life.take(FullLife::Step::kStop);
    CHECK(eventually([&life] { return life.guard().processes().empty(); }));
    const std::string left = life.difference_to(before);
    CHECK_MESSAGE(has(left, "+ pool"), left);
    CHECK_MESSAGE(!has(left, "k-net"), left);
    const CommandResult again = life.guard().vmrig({"recover"});
    CHECK(again.status == 1);
    CHECK_MESSAGE(has(again.out, "Read-only file system"), again.out << again.err);
    disk.make_writable();
    const CommandResult recovered = life.guard().vmrig({"recover"});
    CHECK_MESSAGE(recovered.status == 0, recovered.out << recovered.err);
    CHECK(life.guard().vmrig({"stop", "--all", "--force"}).status == 0);
    const std::string difference = life.difference_to(before);
    CHECK_MESSAGE(difference.empty(), difference);
  });
  if (lack) SKIP_TEST(*lack);
}
