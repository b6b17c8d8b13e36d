// VMs come and go, are plugged, killed and recovered, over and over: nothing piles up.
//
// VMRIG_SOAK_SECONDS: how long; a quarter of a minute in the ordinary run, half an hour in --full.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "tests/support/network_sandbox.hpp"
#include "tests/support/page_pool_guard.hpp"
#include "tests/support/skip.hpp"
#include "tests/support/vm_guard.hpp"

namespace {

namespace fs = std::filesystem;
using namespace vmrig;
using namespace vmrig::testing;
using Clock = std::chrono::steady_clock;

constexpr int kOrdinarySeconds = 15;
constexpr int kWarmUpCycles = 10;
// What a heap may keep for itself after the warm-up; a leak of 100 bytes a cycle shows in minutes.
constexpr std::uint64_t kMostGrowthKib = 512;
constexpr int kCyclesBetweenChecks = 12;

std::chrono::seconds soak_time() {
  const char* text = std::getenv("VMRIG_SOAK_SECONDS");  // NOLINT(concurrency-mt-unsafe)
  int seconds = kOrdinarySeconds;
  if (text != nullptr) {
    const std::string_view digits = text;
    std::from_chars(digits.data(), digits.data() + digits.size(), seconds);
  }
  return std::chrono::seconds(seconds);
}

std::uint64_t pss_kib(pid_t pid) {
  const std::string text = read_text(fmt::format("/proc/{}/smaps_rollup", pid));
  const std::size_t at = text.find("\nPss:");
  if (at == std::string::npos) return 0;
  return std::strtoull(text.c_str() + at + std::char_traits<char>::length("\nPss:"), nullptr, 10);
}

std::size_t fd_count(pid_t pid) {
  std::error_code error;
  const fs::directory_iterator folder(fmt::format("/proc/{}/fd", pid), error);
  return static_cast<std::size_t>(std::distance(begin(folder), end(folder)));
}

// What a process holds, which has to stay the same.
struct Holding {
  std::uint64_t pss = 0;  // KiB
  std::size_t fds = 0;
};

Holding holding_of(pid_t pid) { return {pss_kib(pid), fd_count(pid)}; }

class Soak {
 public:
  explicit Soak(VmGuard& guard) : guard_(guard), random_(1) {
    disk_ = guard.folder() / "plug.img";
    write_text(disk_, std::string(1 << 20, '\0'));
    before_ = host_state();
  }

  void run(std::chrono::seconds time) {
    REQUIRE(start("steady"));
    const auto until = Clock::now() + time;
    while (Clock::now() < until || cycles_ <= kWarmUpCycles) {
      cycle();
      ++cycles_;
      if (cycles_ == kWarmUpCycles) remember();
      if (cycles_ % kCyclesBetweenChecks == 0) check_between();
    }
    check_steady();
    for (const std::string& name : names()) stop(name);
    CHECK(vmrig({"stop", "steady", "--force"}));
    CHECK(guard_.nothing_left());
    CHECK(host_state() == before_);
    report();
  }

 private:
  static std::vector<std::string> names() { return {"one", "two", "three"}; }

  bool vmrig(std::vector<std::string> words) {
    const CommandResult result = guard_.vmrig(std::move(words));
    CHECK_MESSAGE(result.status == 0, result.err);
    return result.status == 0;
  }

  Json config(const std::string& name) const {
    Json config = guard_.config(name);
    config["machine"]["hotplug_ports"] = 2;
    // A nested KVM gives up a guest without a system now and then.
    config["machine"]["accel"] = "tcg";
    config["usb"] = Json::array({{{"id", "tablet0"}, {"type", "tablet"}}});
    config["nics"] = Json::array(
        {{{"id", "net0"},
          {"type", "tap"},
          {"vhost", false},
          {"rate", {{"egress", "100Mbit"}}},
          {"bridge", {{"name", "soak0"}, {"create", true}, {"address", "10.66.0.1/24"}}}}});
    if (name == "two" && has_pages_) {
      config["memory"] = {{"size", "16MiB"}, {"hugepages", "2MiB"}, {"reserve", true}};
    }
    return config;
  }

  bool start(const std::string& name) {
    ++starts_;
    return vmrig({"start", guard_.write_config(config(name))});
  }

  void stop(const std::string& name) {
    if (state_of(name) != "none") CHECK(vmrig({"stop", name, "--force"}));
  }

  Json listed(const std::string& name) const {
    for (const Json& vm : guard_.vmrig_json({"list", "--json"})) {
      if (vm.at("name") == Json(name)) return vm;
    }
    return nullptr;
  }
  std::string state_of(const std::string& name) const {
    const Json vm = listed(name);
    return vm.is_null() ? "none" : vm.at("state").get<std::string>();
  }
  pid_t pid_of(const std::string& name, const char* who) const {
    const Json vm = listed(name);
    return vm.is_null() ? -1 : vm.at(who).get<pid_t>();
  }

  // One VM through a life that ends in one of the ways in which lives end; beside it the steady
  // one.
  void cycle() {
    const std::string name = names().at(static_cast<std::size_t>(cycles_) % names().size());
    const std::string state = state_of(name);
    if (state == "none" || state == "crashed") REQUIRE(start(name));
    plug(name);
    plug("steady");
    talk("steady");
    switch (random_() % 5) {
      case 0:
        kill_supervisor(name);
        CHECK(vmrig({"recover"}));
        CHECK(state_of(name) == "running");
        plug(name);
        break;
      case 1:
        kill_qemu(name);
        break;
      case 2:
        kill_both(name);
        break;
      case 3:
        CHECK(vmrig({"stop", name, "--timeout", "0.1"}));
        break;
      default:
        CHECK(vmrig({"stop", name, "--force"}));
        break;
    }
  }

  // On controllers that need no guest to let go.
  void plug(const std::string& name) {
    const Json disk = {
        {"id", "u1"}, {"type", "storage"}, {"path", disk_of(name)}, {"format", "raw"}};
    CHECK(vmrig({"attach", name, "usb", disk.dump()}));
    CHECK(vmrig({"detach", name, "u1"}));
    ++plugs_;
  }

  std::string disk_of(const std::string& name) const {
    std::string path = guard_.folder() / (name + ".img");
    if (!fs::exists(path)) fs::copy_file(disk_, path);
    return path;
  }

  void talk(const std::string& name) {
    CHECK(guard_.vmrig_json({"qmp", name, "query-status"}).at("running") == Json(true));
    CHECK(vmrig({"pause", name}));
    CHECK(vmrig({"resume", name}));
    CHECK(guard_.vmrig_json({"status", name, "--json"}).is_object());
    CHECK(vmrig({"set", name, "link.net0=down"}));
    CHECK(vmrig({"set", name, "link.net0=up"}));
  }

  void kill_supervisor(const std::string& name) {
    REQUIRE(::kill(pid_of(name, "supervisor"), SIGKILL) == 0);
    CHECK(eventually([&] { return state_of(name) == "orphaned"; }));
  }
  void kill_qemu(const std::string& name) {
    REQUIRE(::kill(pid_of(name, "pid"), SIGKILL) == 0);
    CHECK(eventually([&] { return state_of(name) == "crashed" || state_of(name) == "none"; }));
    CHECK(vmrig({"recover"}));
  }
  void kill_both(const std::string& name) {
    const pid_t qemu = pid_of(name, "pid");
    REQUIRE(::kill(pid_of(name, "supervisor"), SIGKILL) == 0);
    ::kill(qemu, SIGKILL);
    CHECK(eventually([&] { return state_of(name) != "running" && state_of(name) != "orphaned"; }));
    CHECK(vmrig({"recover"}));
  }

  // Links, addresses, queueing disciplines, pools of hugepages and mounts.
  std::string host_state() const {
    std::string text = network_snapshot();
    text += fmt::format("pages {}\n", pool_.total());
    const std::string mounts = read_text("/proc/self/mountinfo");
    for (std::size_t at = 0; (at = mounts.find(guard_.state_dir(), at)) != std::string::npos;
         ++at) {
      text += "a mount in the state folder\n";
    }
    return text;
  }

  // With the steady VM alone the host has what that one needs, and no more.
  void check_between() {
    for (const std::string& name : names()) stop(name);
    CHECK(guard_.remains() == std::vector<std::string>{"steady"});
    CHECK(eventually([this] { return guard_.processes().size() == 2; }));
    const std::string now = host_state();
    if (steady_host_.empty()) steady_host_ = now;
    CHECK(now == steady_host_);
    const std::string files = files_of_steady();
    if (steady_files_.empty()) steady_files_ = files;
    CHECK(files == steady_files_);
    ++checks_;
  }

  std::string files_of_steady() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(guard_.state_dir() + "/steady")) {
      names.push_back(entry.path().filename().string());
    }
    std::sort(names.begin(), names.end());
    return fmt::format("{}", fmt::join(names, " "));
  }

  void remember() {
    supervisor_ = pid_of("steady", "supervisor");
    at_first_ = settled(supervisor_);
    own_fds_ = fd_count(::getpid());
  }

  // A client that has just gone is closed at once, but not before its last word is read.
  Holding settled(pid_t pid) const {
    Holding last = holding_of(pid);
    eventually([&] {
      const Holding now = holding_of(pid);
      const bool is_same = now.fds == last.fds;
      last = now;
      return is_same;
    });
    return last;
  }

  void check_steady() {
    REQUIRE(pid_of("steady", "supervisor") == supervisor_);
    at_last_ = settled(supervisor_);
    CHECK(at_last_.fds == at_first_.fds);
    CHECK(at_last_.pss <= at_first_.pss + kMostGrowthKib);
    CHECK(fd_count(::getpid()) == own_fds_);
  }

  void report() const {
    std::printf(
        "soak: %d cycles, %d starts, %d plugs, %d checks; the steady supervisor had %llu KiB and "
        "%zu "
        "fds, then %llu KiB and %zu fds\n",
        cycles_, starts_, plugs_, checks_, static_cast<unsigned long long>(at_first_.pss),
        at_first_.fds, static_cast<unsigned long long>(at_last_.pss), at_last_.fds);
    std::fflush(stdout);
  }

  VmGuard& guard_;
  std::mt19937 random_;  // seeded: the same lives in the same order
  PagePoolGuard pool_{0};
  bool has_pages_ = PagePoolGuard(8).fault().empty();
  std::string disk_;
  std::string before_;
  std::string steady_host_;
  std::string steady_files_;
  pid_t supervisor_ = -1;
  Holding at_first_;
  Holding at_last_;
  std::size_t own_fds_ = 0;
  int cycles_ = 0;
  int starts_ = 0;
  int plugs_ = 0;
  int checks_ = 0;
};

}  // namespace

TEST_CASE("soak: lives of all kinds leave memory, fds, files and the host as they were") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  if (const auto reason = no_network_sandbox()) SKIP_TEST(*reason);
  in_network_sandbox([] {
    VmGuard guard;
    Soak soak(guard);
    soak.run(soak_time());
  });
}
