// What a VM may take of its host, with real QEMUs: real-time threads, throttled disks, a balloon, a
// cgroup, CPUs of its own. Limits that this kernel may lack are proven in the lab.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sched.h>

#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "hostcfg/base/error.hpp"
#include "hostcfg/set_scheduler.hpp"
#include "hostcfg/thread_affinity.hpp"
#include "tests/support/guest_console.hpp"
#include "tests/support/skip.hpp"

namespace {

using namespace vmrig;
using namespace vmrig::testing;

bool may_be_realtime() {
  try {
    set_scheduler(0, {SchedulerPolicy::kFifo, 1}, "the test");
    set_scheduler(0, {}, "the test");
  } catch (const Error&) {
    return false;
  }
  return true;
}

// "vcpu 0 fifo 3" a line, as the kernel has it.
std::string schedulers_of(const Json& status) {
  std::string text;
  for (const Json& thread : status.at("threads")) {
    text += fmt::format("{} {} {}\n", thread.at("role").get<std::string>(),
                        thread.at("id").get<std::string>(),
                        to_string(read_scheduler(thread.at("tid").get<pid_t>())));
  }
  return text;
}

double seconds_for(const std::function<void()>& work) {
  const auto began = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
}

}  // namespace

TEST_CASE("vCPUs and iothreads are real-time before the guest runs, and so is a vCPU that comes") {
  if (!may_be_realtime()) SKIP_TEST("no right to real-time scheduling");
  VmGuard guard;
  Json config = guard.config("rt");
  const std::string cpu = std::to_string(thread_affinity(0).cpus().back());
  config["cpu"] = {{"vcpus", 1},
                   {"max_vcpus", 2},
                   {"pin", {cpu, cpu}},
                   {"scheduler", {{"policy", "fifo"}, {"priority", 3}}}};
  config["iothreads"] = {{{"id", "io0"}, {"scheduler", {{"policy", "rr"}, {"priority", 2}}}}};
  const CommandResult started = guard.vmrig({"start", "--paused", guard.write_config(config)});
  REQUIRE_MESSAGE(started.status == 0, started.err);
  CHECK(schedulers_of(guard.vmrig_json({"status", "rt", "--json"})) ==
        "emulator  other\nvcpu 0 fifo 3\niothread io0 rr 2\n");
  const CommandResult added = guard.vmrig({"set", "rt", "vcpus=2"});
  CHECK_MESSAGE(added.status == 0, added.err);
  const Json status = guard.vmrig_json({"status", "rt", "--json"});
  CHECK(schedulers_of(status) ==
        "emulator  other\nvcpu 0 fifo 3\nvcpu 1 fifo 3\niothread io0 rr 2\n");
  CHECK(guard.vmrig({"status", "rt"}).out.find("fifo 3") != std::string::npos);

  const CommandResult good = guard.vmrig({"verify", "rt", "--seconds", "0"});
  CHECK_MESSAGE(good.status == 0, good.out);
  for (const Json& thread : status.at("threads")) {
    if (thread.at("id") == "1") set_scheduler(thread.at("tid").get<pid_t>(), {}, "vCPU 1");
  }
  const CommandResult bad = guard.vmrig({"verify", "rt", "--seconds", "0"});
  CHECK(bad.status == 1);
  CHECK(bad.out.find("FAIL  scheduler") != std::string::npos);
  CHECK(guard.vmrig({"stop", "rt", "--force"}).status == 0);
  CHECK(guard.nothing_left());
}

TEST_CASE("a guest reads a throttled disk as fast as it may, whether it was there or came") {
  NEED_GUEST();
  VmGuard guard;
  for (const char* name : {"a.img", "b.img"}) {
    write_text(guard.folder() / name, std::string(std::size_t{12} << 20, 'x'));
  }
  Json config = guest_config(guard, "slow");
  config["disks"] = {{{"id", "a"},
                      {"path", guard.folder() / "a.img"},
                      {"serial", "a"},
                      {"throttle", {{"bps", "4MiB"}}}}};
  const CommandResult started =
      guard.vmrig({"start", guard.write_config(config), "--wait", kGuestGreeting});
  REQUIRE_MESSAGE(started.status == 0, started.err);
  GuestConsole console(guard.state_dir() + "/slow/console.sock");
  const Json later = {{"id", "b"},
                      {"path", guard.folder() / "b.img"},
                      {"serial", "b"},
                      {"readonly", true},
                      {"throttle", {{"iops_read", 1000}, {"bps_read", "4MiB"}}}};
  const CommandResult attached = guard.vmrig({"attach", "slow", "disk", later.dump()});
  CHECK_MESSAGE(attached.status == 0, attached.err);
  console.await("grep -qx b /sys/block/vdb/serial && test -b /dev/vdb");
  for (const std::string disk : {"/dev/vda", "/dev/vdb"}) {
    CAPTURE(disk);
    // What the guest has read before, and the bucket that may be full, are not measured.
    console.run(fmt::format("dd if={} of=/dev/null bs=1M count=4", disk));
    const double seconds = seconds_for(
        [&] { console.run(fmt::format("dd if={} of=/dev/null bs=1M skip=4 count=8", disk)); });
    const double rate = 8 / seconds;
    MESSAGE(disk << ": " << rate << " MiB/s at a limit of 4");
    CHECK(rate < 4 * 1.1);
    CHECK(rate > 4 * 0.7);  // the machine may be busy
  }
  const CommandResult detached = guard.vmrig({"detach", "slow", "b"});
  CHECK_MESSAGE(detached.status == 0, detached.err);
  const Json objects =
      guard.vmrig_json({"qmp", "slow", "qom-list", Json{{"path", "/objects"}}.dump()});
  CHECK(objects.dump().find("b-limit") == std::string::npos);
  CHECK(objects.dump().find("a-limit") != std::string::npos);
  CHECK(guard.vmrig({"stop", "slow", "--force"}).status == 0);
  CHECK(guard.nothing_left());
}

TEST_CASE("a guest gives memory back by its balloon, tells of it, and gets it again") {
  NEED_GUEST();
  VmGuard guard;
  Json config = guest_config(guard, "air");
  config["balloon"] = true;
  config["memory"]["max"] = "1GiB";
  const CommandResult started =
      guard.vmrig({"start", guard.write_config(config), "--wait", kGuestGreeting});
  REQUIRE_MESSAGE(started.status == 0, started.err);
  GuestConsole console(guard.state_dir() + "/air/console.sock");
  const auto free_mib = [&console] {
    return std::stoi(console.run("awk '/MemFree/ {print int($2 / 1024)}' /proc/meminfo"));
  };
  const auto balloon = [&guard] {
    return guard.vmrig_json({"status", "air", "--json"}).at("balloon");
  };
  const int before = free_mib();
  CHECK(balloon().at("actual") == 256 << 20);

  const CommandResult less = guard.vmrig({"set", "air", "balloon=208MiB"});
  CHECK_MESSAGE(less.status == 0, less.err);
  CHECK(balloon().at("actual") == 208 << 20);
  CHECK(free_mib() < before - 36);
  Json told;
  CHECK(eventually(
      [&] {
        told = balloon();
        return told.at("stats").contains("free-memory");
      },
      std::chrono::seconds(30)));
  CHECK(told.at("stats").at("total-memory") > 100 << 20);
  CHECK(guard.vmrig({"status", "air"}).out.find("the guest says: ") != std::string::npos);

  CHECK(guard.vmrig({"set", "air", "balloon=257MiB"}).status == 2);
  CHECK(guard.vmrig({"set", "air", "balloon=8MiB"}).status == 2);
  const CommandResult dimm =
      guard.vmrig({"attach", "air", "memory", R"({"id": "m1", "size": "128MiB"})"});
  CHECK_MESSAGE(dimm.status == 0, dimm.err);
  console.await("test $(awk '/MemTotal/ {print int($2 / 1024)}' /proc/meminfo) -gt 220");
  const CommandResult more = guard.vmrig({"set", "air", "balloon=384MiB"});
  CHECK_MESSAGE(more.status == 0, more.err);
  CHECK(balloon().at("actual") == 384 << 20);
  CHECK(free_mib() > before);
  CHECK(guard.vmrig({"stop", "air", "--force"}).status == 0);
  CHECK(guard.nothing_left());
}

TEST_CASE("a guest without a driver for the balloon leaves it, which is told at the deadline") {
  VmGuard guard;
  Json config = guard.config("deaf");
  config["balloon"] = true;
  config["memory"] = {{"size", "128MiB"}};
  const CommandResult started = guard.vmrig({"start", "--paused", guard.write_config(config)});
  REQUIRE_MESSAGE(started.status == 0, started.err);
  const CommandResult set = guard.vmrig({"set", "deaf", "balloon=64MiB", "--timeout", "0.5"});
  CHECK(set.status == 124);
  CHECK(set.err.find("128MiB of memory on the way to 64MiB; it goes on") != std::string::npos);
  CHECK(guard.vmrig({"status", "deaf"}).out.find("the guest says nothing") != std::string::npos);
  CHECK(guard.vmrig({"stop", "deaf", "--force"}).status == 0);
  CHECK(guard.nothing_left());
}

TEST_CASE("QEMU is in a cgroup of its own, which goes with the VM") {
  VmGuard guard;
  Json config = guard.config("grouped");
  config["limits"] = Json::object();
  const std::string file = guard.write_config(config);
  if (guard.vmrig({"plan", file, "--argv"}).status == 3) SKIP_TEST("no cgroup v2 to be had");
  const CommandResult started = guard.vmrig({"start", "--paused", file});
  if (started.status == 3) SKIP_TEST(started.err);
  REQUIRE_MESSAGE(started.status == 0, started.err);
  const Json limits = guard.vmrig_json({"status", "grouped", "--json"}).at("limits");
  INFO(limits.dump());
  CHECK(limits.at("has_qemu") == true);
  const auto group = limits.at("group").get<std::string>();
  CHECK(group.ends_with("/vmrig/grouped"));
  CHECK(guard.vmrig({"verify", "grouped", "--seconds", "0"}).status == 0);
  CHECK(guard.vmrig({"stop", "grouped", "--force"}).status == 0);
  CHECK(read_text(group + "/cgroup.procs").empty());
  CHECK(guard.nothing_left());
}

TEST_CASE("of VMs that want the same CPU at the same moment one runs, and the others name it") {
  VmGuard guard;
  const std::string cpu = std::to_string(thread_affinity(0).cpus().back());
  constexpr int kVms = 4;
  std::vector<std::string> files;
  for (int i = 0; i < kVms; ++i) {
    Json config = guard.config(fmt::format("want{}", i));
    config["cpu"] = {{"vcpus", 1}, {"pin", {cpu}}, {"exclusive", true}};
    files.push_back(guard.write_config(config, fmt::format("{}.json", i)));
  }
  std::vector<CommandResult> results(kVms);
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < kVms; ++i) {
      const auto place = static_cast<std::size_t>(i);
      threads.emplace_back([&guard, &result = results[place], &file = files[place]] {
        result = guard.vmrig({"start", "--paused", file});
      });
    }
  }
  int winner = -1;
  for (int i = 0; i < kVms; ++i) {
    const CommandResult& result = results[static_cast<std::size_t>(i)];
    CAPTURE(result.err);
    if (result.status == 0) {
      CHECK(winner == -1);
      winner = i;
    } else {
      CHECK(result.status == 6);
    }
  }
  REQUIRE(winner >= 0);
  const std::string name = fmt::format("want{}", winner);
  for (const CommandResult& result : results) {
    if (result.status == 6) CHECK(result.err.find("held by VM \"" + name) != std::string::npos);
  }
  CHECK(guard.vmrig({"stop", name, "--force"}).status == 0);
  const std::string& next = files[static_cast<std::size_t>((winner + 1) % kVms)];
  const CommandResult after = guard.vmrig({"start", "--paused", next});
  CHECK_MESSAGE(after.status == 0, after.err);
  CHECK(guard.vmrig({"stop", "--all", "--force"}).status == 0);
  CHECK(guard.nothing_left());
}
