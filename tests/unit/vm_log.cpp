// Logs: what they say, and that they stay small.
#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <string>

#include "launcher/initial_state.hpp"
#include "launcher/log_watch.hpp"
#include "launcher/plan.hpp"
#include "launcher/state_dir.hpp"
#include "launcher/vm_log.hpp"
#include "tests/support/temp_folder.hpp"

using namespace vmrig;
using namespace vmrig::testing;

namespace {

VmFolder claimed(StateRoot& root) {
  Plan plan;
  plan.config.name = "v";
  VmState state = initial_state(plan, RunMode::kDetached);
  return root.claim(root.lock(), state);
}

std::size_t size_of(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? static_cast<std::size_t>(status.st_size) : 0;
}

std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
    ++count;
  }
  return count;
}

std::string numbered_lines(std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += "line " + std::to_string(i) + "\n";
  return text;
}

}  // namespace

TEST_CASE("a burst of lines is taken, then a few a second, and the rest is counted") {
  using Time = LineBudget::Time;
  LineBudget budget;
  Time now = Time() + std::chrono::hours(1);
  int taken = 0;
  for (int i = 0; i < 1000; ++i) taken += budget.take(now) ? 1 : 0;
  CHECK(taken == 100);
  CHECK(budget.take_left_out() == 900);
  CHECK(budget.take_left_out() == 0);
  taken = 0;
  for (int i = 0; i < 1000; ++i) {  // for ten seconds
    now += std::chrono::milliseconds(10);
    taken += budget.take(now) ? 1 : 0;
  }
  CHECK(taken >= 49);
  CHECK(taken <= 51);
  now += std::chrono::hours(1);
  taken = 0;
  for (int i = 0; i < 1000; ++i) taken += budget.take(now) ? 1 : 0;
  CHECK(taken == 100);
}

TEST_CASE("a storm of events leaves a bounded log that says what it left out") {
  const TempFolder folder;
  StateRoot root = StateRoot::open(folder / "state");
  const VmFolder vm = claimed(root);
  VmLog log(vm.open_log(kVmrigLogName), [&] { (void)vm.cut_log(kVmrigLogName); });
  for (int i = 0; i < 100'000; ++i) log.write_bounded("RESET {}");
  log.write("ended: so");
  const std::string text = read_text(vm.path_of(kVmrigLogName));
  CHECK(count_of(text, "RESET") >= 100);
  CHECK(text.size() < 100'000);
  CHECK(text.ends_with("ended: so\n"));
}

TEST_CASE("vmrig's own log is cut, and its end is kept beside it") {
  const TempFolder folder;
  StateRoot root = StateRoot::open(folder / "state");
  const VmFolder vm = claimed(root);
  VmLog log(vm.open_log(kVmrigLogName), [&] { (void)vm.cut_log(kVmrigLogName); });
  const std::string line(1000, 'x');
  for (int i = 0; i < 5000; ++i) log.write(line + std::to_string(i));
  CHECK(size_of(vm.path_of(kVmrigLogName)) <= kMaxLogBytes);
  const std::string old = read_text(vm.path_of("vmrig.log.1"));
  CHECK(old.size() <= kMaxLogBytes / 2);
  CHECK(old.size() > kMaxLogBytes / 4);
  CHECK(read_text(vm.path_of(kVmrigLogName)).ends_with("x4999\n"));
  struct stat status {};
  REQUIRE(::stat(vm.path_of("vmrig.log.1").c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);
}

TEST_CASE("a log that is cut keeps whole lines, and its writer goes on where it begins") {
  const TempFolder folder;
  StateRoot root = StateRoot::open(folder / "state");
  const VmFolder vm = claimed(root);
  const Fd writer = vm.open_log(kQemuLogName);
  const std::string text = numbered_lines(200'000);
  REQUIRE(text.size() > kMaxLogBytes);
  REQUIRE(::write(writer.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  CHECK(vm.cut_log(kQemuLogName));
  CHECK(size_of(vm.path_of(kQemuLogName)) == 0);
  const std::string old = read_text(vm.path_of("qemu.log.1"));
  CHECK(old.starts_with("line "));
  CHECK(text.ends_with(old));
  REQUIRE(::write(writer.get(), "more\n", 5) == 5);
  CHECK(read_text(vm.path_of(kQemuLogName)) == "more\n");
  // One that is short is left alone.
  CHECK(vm.cut_log(kQemuLogName));
  CHECK(read_text(vm.path_of(kQemuLogName)) == "more\n");
  // A reader that knew the longer file gets what is there now.
  CHECK(vm.read_log(kQemuLogName, text.size(), 100) == "more\n");
}

TEST_CASE("a log that another process floods stays bounded, and a quiet one costs nothing") {
  const TempFolder folder;
  StateRoot root = StateRoot::open(folder / "state");
  const VmFolder vm = claimed(root);
  const Fd writer = vm.open_log(kQemuLogName);
  boost::asio::io_context context;
  std::size_t looks = 0;
  std::size_t largest = 0;
  const LogWatch watch(context.get_executor(), vm.path_of(kQemuLogName), [&] {
    ++looks;
    largest = std::max(largest, size_of(vm.path_of(kQemuLogName)));
    (void)vm.cut_log(kQemuLogName);
  });
  context.run_for(std::chrono::milliseconds(300));
  CHECK(looks == 0);
  // A megabyte each ten milliseconds, for a second and a half.
  const std::string block(std::size_t{1} << 20, '#');
  boost::asio::steady_timer pace(context);
  std::function<void()> flood = [&] {
    pace.expires_after(std::chrono::milliseconds(10));
    pace.async_wait([&](const boost::system::error_code& fault) {
      if (fault || ::write(writer.get(), block.data(), block.size()) < 0) return;
      flood();
    });
  };
  flood();
  context.restart();
  context.run_for(std::chrono::milliseconds(1500));
  pace.cancel();
  context.restart();
  context.run_for(std::chrono::milliseconds(400));
  CHECK(looks >= 3);
  CHECK(looks < 60);
  CHECK(largest < (std::size_t{64} << 20));
  CHECK(size_of(vm.path_of(kQemuLogName)) <= kMaxLogBytes);
}
