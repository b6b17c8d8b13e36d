// No deadline may hang on a clock that jumps, or that runs while the host sleeps.
#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/process.hpp"
#include "tests/support/temp_folder.hpp"
#include "tests/support/vm_guard.hpp"

using namespace vmrig;
using namespace vmrig::testing;

namespace fs = std::filesystem;

namespace {

// Of sources of ours, by their path below the source folder.
std::vector<std::string> sources() {
  std::vector<std::string> files;
  for (const char* room : {"launcher", "hostcfg", "devices", "qmp"}) {
    for (const auto& entry : fs::recursive_directory_iterator(source_folder() + "/" + room)) {
      const std::string extension = entry.path().extension().string();
      if (extension != ".cpp" && extension != ".hpp") continue;
      files.push_back(fs::relative(entry.path(), source_folder()).string());
    }
  }
  return files;
}

std::set<std::string> users_of(const std::vector<std::string_view>& words) {
  std::set<std::string> users;
  for (const std::string& file : sources()) {
    const std::string text = read_text(source_folder() + "/" + file);
    const bool has_one = std::any_of(words.begin(), words.end(), [&text](std::string_view word) {
      return text.find(word) != std::string::npos;
    });
    if (has_one) users.insert(file);
  }
  return users;
}

}  // namespace

TEST_CASE("the time of day is read only where it is shown or written down") {
  REQUIRE(sources().size() > 200);
  // Each of these stamps something: a line of the log, a record, a packet, an event; the balloon's
  // is QEMU's own stamp's age, for people.
  const std::set<std::string> stamps = {"launcher/wall_clock.hpp", "launcher/vm_log.cpp",
                                        "launcher/capture.cpp", "launcher/hotplug/balloon.cpp",
                                        "qmp/server.cpp"};
  const std::set<std::string> users =
      users_of({"system_clock", "CLOCK_REALTIME", "gettimeofday", "time(nullptr)", "::time("});
  for (const std::string& file : users) {
    CHECK_MESSAGE(stamps.contains(file), file << " reads the time of day");
  }
  for (const std::string& file : stamps) CHECK_MESSAGE(users.contains(file), file);
}

TEST_CASE("nothing waits by a clock that jumps") {
  // Timers and waits of Asio, the standard library and libc that take a time of day.
  CHECK(users_of({"asio::system_timer", "asio/system_timer", "deadline_timer", "sem_timedwait",
                  "pthread_cond_timedwait", "mq_timedreceive", "setitimer", "ITIMER_REAL",
                  "TFD_TIMER_ABSTIME"})
            .empty());
  // What runs on while the host sleeps is read for a process's age, and by nothing that waits.
  CHECK(users_of({"CLOCK_BOOTTIME", "CLOCK_TAI"}) ==
        std::set<std::string>{"launcher/process.cpp", "launcher/process.hpp"});
}

TEST_CASE("a process's age is counted from its start") {
  const std::optional<ProcessIdentity> self = identify_process(::getpid());
  REQUIRE(self.has_value());
  CHECK(age_of(*self) < std::chrono::hours(1));
  const std::optional<ProcessIdentity> first = identify_process(1);
  REQUIRE(first.has_value());
  CHECK(age_of(*first) >= age_of(*self));
  CHECK(age_of({.pid = 1, .start_time = UINT64_C(1) << 62}) == std::chrono::seconds(0));
}
