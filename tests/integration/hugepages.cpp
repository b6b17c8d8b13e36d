// Hugepages on this kernel: populated before QEMU starts, claimed, reserved, given back.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "hostcfg/base/error.hpp"
#include "hostcfg/populate.hpp"
#include "tests/support/page_pool_guard.hpp"
#include "tests/support/skip.hpp"
#include "tests/support/vm_guard.hpp"

namespace {

using namespace vmrig;
using namespace vmrig::testing;

#define NEED_PAGES(pool) \
  if (!(pool).fault().empty()) SKIP_TEST((pool).fault())

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

MemoryRegion region_of(Bytes size) {
  return {.name = "test-mem",
          .origin = "memory",
          .size = size,
          .page_size = Bytes::mib(2),
          .policy = MemoryPolicy::kBind,
          .nodes = {},
          .mount = {},
          .cpus = {0, 1}};
}

Json huge_config(const VmGuard& guard, const std::string& name, const std::string& size) {
  Json config = guard.config(name);
  config["memory"] = {{"size", size}, {"hugepages", "2MiB"}, {"prealloc", true}};
  return config;
}

// The mounts of a test's own state folder.
std::string own_mounts(const VmGuard& guard) {
  std::ifstream file("/proc/self/mountinfo");
  std::string found;
  for (std::string line; std::getline(file, line);) {
    if (contains(line, guard.state_dir())) found += line + "\n";
  }
  return found;
}

pid_t pid_of(const VmGuard& guard, const std::string& name, const char* who) {
  std::ifstream file(guard.state_dir() + "/" + name + "/state.json");
  return Json::parse(file).at(who).at("pid").get<pid_t>();
}

TEST_CASE("a file is populated page by page, and its pages go with it") {
  const PagePoolGuard pool(64);
  NEED_PAGES(pool);
  const std::uint64_t before = pool.free();
  {
    PopulateWatch watch;
    const MemoryFile file = populate(region_of(Bytes::mib(128)), watch);
    CHECK(watch.bytes == Bytes::mib(128).value);
    CHECK(pool.free() == before - 64);
    CHECK(std::to_integer<int>(file.begin()[Bytes::mib(127).value]) == 0);
  }
  CHECK(pool.free() == before);
}

TEST_CASE("a shortage is told in pages, with its mend, and nothing is kept") {
  const PagePoolGuard pool(8);
  NEED_PAGES(pool);
  const std::uint64_t before = pool.free();
  PopulateWatch watch;
  std::string told;
  std::string mend;
  try {
    (void)populate(region_of(Bytes{(before + 5) * Bytes::mib(2).value}), watch);
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::kHost);
    told = error.what();
    mend = error.parts().mend;
  }
  CHECK_MESSAGE(contains(told, fmt::format("gave {} of the {} 2MiB pages that are needed", before,
                                           before + 5)),
                told);
  CHECK_MESSAGE(contains(mend, fmt::format("echo {} > /sys/", pool.total() + 5)), mend);
  CHECK(pool.free() == before);
}

TEST_CASE("populating ends soon when it is cancelled") {
  const PagePoolGuard pool(1024);
  NEED_PAGES(pool);
  const std::uint64_t before = pool.free();
  PopulateWatch watch;
  std::string told;
  {
    const std::jthread canceller([&watch] {
      while (watch.bytes == 0) std::this_thread::yield();
      watch.is_cancelled = true;
    });
    try {
      (void)populate(region_of(Bytes::gib(2)), watch);
    } catch (const Error& error) {
      told = error.what();
    }
  }
  CHECK(contains(told, "asked to stop"));
  CHECK(watch.bytes < Bytes::gib(2).value);
  CHECK(pool.free() == before);
}

TEST_CASE("a VM's hugepages are there before its QEMU, by memfd and by a mount of vmrig's own") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  const PagePoolGuard pool(64);
  NEED_PAGES(pool);
  const std::uint64_t before = pool.free();
  const char* qemu10 = std::getenv("VMRIG_QEMU10");
  const VmGuard guard;
  for (const char* backing : {"hugetlbfs", "memfd"}) {
    for (const std::string& qemu : {std::string(), std::string(qemu10 == nullptr ? "" : qemu10)}) {
      CAPTURE(backing);
      CAPTURE(qemu);
      Json config = huge_config(guard, "huge", "128MiB");
      config["memory"]["backing"] = backing;
      if (!qemu.empty()) config["qemu"] = qemu;
      const CommandResult started = guard.vmrig({"start", guard.write_config(config)});
      REQUIRE_MESSAGE(started.status == 0, started.err);
      CHECK(pool.free() == before - 64);
      const CommandResult verified = guard.vmrig({"verify", "huge", "--seconds", "0"});
      INFO(verified.out);
      CHECK(verified.status == 0);
      CHECK(contains(verified.out, "2MiB pages, 128MiB"));
      CHECK(guard.vmrig({"stop", "huge", "--force"}).status == 0);
      CHECK(pool.free() == before);
      CHECK(own_mounts(guard).empty());
    }
  }
  CHECK(guard.nothing_left());
}

TEST_CASE("pages that are missing are reserved, and given back after every end") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  {
    const PagePoolGuard room(96);  // that there is room for
    NEED_PAGES(room);
  }
  const PagePoolGuard none(0);
  const VmGuard guard;
  Json config = huge_config(guard, "more", "192MiB");
  config["memory"]["reserve"] = true;
  config["power"] = {{"on_supervisor_exit", "kill"}};
  const std::string path = guard.write_config(config);
  const std::uint64_t total = none.total();
  const std::uint64_t missing = 96 - std::min<std::uint64_t>(96, none.free());
  REQUIRE(missing > 0);

  const CommandResult plan = guard.vmrig({"plan", path});
  CHECK_MESSAGE(contains(plan.out, fmt::format("reserve    {} x 2MiB on node 0", missing)),
                plan.out);
  REQUIRE(guard.vmrig({"start", path}).status == 0);
  CHECK(none.total() == total + missing);
  CHECK(guard.vmrig({"stop", "more", "--force"}).status == 0);
  CHECK(none.total() == total);

  REQUIRE(guard.vmrig({"start", path}).status == 0);
  ::kill(pid_of(guard, "more", "supervisor"), SIGKILL);
  CHECK(eventually([&] { return guard.qemus().empty(); }));
  CHECK(none.total() == total + missing);
  CHECK(guard.vmrig({"recover"}).status == 0);
  CHECK(none.total() == total);
  CHECK(guard.nothing_left());
}

TEST_CASE("pages that another VM has claimed and not yet got are busy") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  const PagePoolGuard pool(48);
  NEED_PAGES(pool);
  if (pool.free() > 60) SKIP_TEST("the pool is larger than this test's");
  const VmGuard guard;
  Json lazy = huge_config(guard, "lazy", "64MiB");
  lazy["memory"]["prealloc"] = false;
  REQUIRE(guard.vmrig({"start", "--paused", guard.write_config(lazy)}).status == 0);
  const CommandResult refused =
      guard.vmrig({"start", "--paused", guard.write_config(huge_config(guard, "next", "64MiB"))});
  CHECK(refused.status == 6);
  CHECK_MESSAGE(contains(refused.err, "VM \"lazy\" has claimed"), refused.err);
  CHECK_MESSAGE(contains(refused.err, "vmrig stop lazy"), refused.err);
  CHECK(guard.vmrig({"stop", "lazy", "--force"}).status == 0);
  // One that has got its pages claims no more of those that are free.
  REQUIRE(guard.vmrig({"start", guard.write_config(huge_config(guard, "got", "32MiB"))}).status ==
          0);
  const CommandResult next =
      guard.vmrig({"start", guard.write_config(huge_config(guard, "next", "64MiB"))});
  CHECK_MESSAGE(next.status == 0, next.err);
  CHECK(guard.vmrig({"stop", "--all", "--force"}).status == 0);
  CHECK(guard.nothing_left());
}

TEST_CASE("Ctrl-C while memory is populated ends run and start, and the pages are back") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  const PagePoolGuard pool(2048);
  NEED_PAGES(pool);
  const std::uint64_t before = pool.free();
  for (const std::string& command : {std::string("run"), std::string("start")}) {
    CAPTURE(command);
    const VmGuard guard;
    const std::string path = guard.write_config(huge_config(guard, "big", "4GiB"));
    RunningCommand running(guard.request({command, path}));
    REQUIRE(eventually([&] { return pool.free() < before; }));
    running.send_signal(SIGINT);
    const CommandResult& result = running.wait();
    INFO(result.out << result.err);
    CHECK_FALSE(result.timed_out);
    CHECK(eventually([&] { return pool.free() == before; }));
    if (command == "start") {
      CHECK(result.status == 1);
      CHECK(contains(result.err, "interrupted"));
    }
    CHECK(guard.nothing_left());
  }
}

}  // namespace
