// vmrig host check on this very machine, against the kernel's own files.
#include <doctest/doctest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "tests/support/skip.hpp"
#include "tests/support/vm_guard.hpp"

namespace {

using namespace vmrig;
using namespace vmrig::testing;

Json row_of(const Json& rows, const std::string& name) {
  for (const Json& row : rows) {
    if (row.at("name") == name) return row;
  }
  return nullptr;
}

std::string found_in(const Json& report, const std::string& name) {
  const Json row = row_of(report.at("host"), name);
  REQUIRE_MESSAGE(row.is_object(), name);
  return row.at("found").get<std::string>();
}

std::string first_line(const std::string& path) {
  const std::string text = read_text(path);
  return text.substr(0, text.find('\n'));
}

// The status is 3 exactly when a row is a problem, and a mend stands where something is wrong.
Json checked_report(const CommandResult& result) {
  INFO(result.err);
  REQUIRE((result.status == 0 || result.status == 3));
  CHECK(result.err.empty());
  Json report = Json::parse(result.out);
  bool has_problem = false;
  for (const char* part : {"host", "plan"}) {
    if (!report.contains(part)) continue;
    for (const Json& row : report.at(part)) {
      const auto severity = row.at("severity").get<std::string>();
      has_problem |= severity == "problem";
      CHECK_FALSE(row.at("found").get<std::string>().empty());
      if (std::string(part) == "host") CHECK(row.contains("mend") == (severity != "ok"));
    }
  }
  CHECK(result.status == (has_problem ? 3 : 0));
  CHECK(report.at("can_run") == !has_problem);
  return report;
}

TEST_CASE("host check agrees with the kernel's own files") {
  const VmGuard guard;
  const Json report = checked_report(guard.vmrig({"host", "check", "--json"}));
  CHECK_FALSE(report.contains("plan"));

  const std::string thp = first_line("/sys/kernel/mm/transparent_hugepage/enabled");
  const std::string said = found_in(report, "THP");
  const std::string mode = said.substr(0, said.find(':'));
  CHECK((thp.empty() ? mode == "not in this kernel"
                     : thp.find("[" + mode + "]") != std::string::npos));

  const std::string ksm = first_line("/sys/kernel/mm/ksm/run");
  CHECK((ksm == "1") == (found_in(report, "KSM").rfind("runs", 0) == 0));

  const std::string swaps = read_text("/proc/swaps");
  CHECK((std::count(swaps.begin(), swaps.end(), '\n') > 1) == (found_in(report, "swap") != "none"));

  const std::string clock =
      first_line("/sys/devices/system/clocksource/clocksource0/current_clocksource");
  if (!clock.empty()) CHECK(found_in(report, "clock source").rfind(clock, 0) == 0);

  const std::string isolated = first_line("/sys/devices/system/cpu/isolated");
  CHECK(
      found_in(report, "isolated CPUs").rfind((isolated.empty() ? "none" : isolated) + " of ", 0) ==
      0);

  const std::string flags = read_text("/proc/cpuinfo");
  const bool can =
      flags.find(" vmx ") != std::string::npos || flags.find(" svm ") != std::string::npos;
  CHECK((row_of(report.at("host"), "virtualisation").at("severity") == "ok") == can);

  const std::string pool = "/sys/devices/system/node/node0/hugepages/hugepages-2048kB/";
  const std::string total = first_line(pool + "nr_hugepages");
  if (!total.empty()) {
    const std::string pages = found_in(report, "2MiB pages, node 0");
    CHECK(pages.find(" free of " + total) != std::string::npos);
  }
}

TEST_CASE("host check for a config judges what it wants, and adds its plan's findings") {
  const VmGuard guard;
  const std::string qemu = system_qemu();
  if (qemu.empty()) SKIP_TEST("no qemu-system-x86_64");
  Json config = guard.config("small");
  config["machine"]["accel"] = "tcg";
  const std::string path = guard.write_config(config);
  const Json small = checked_report(guard.vmrig({"host", "check", path, "--json"}));
  CHECK(small.at("vm") == "small");
  CHECK(small.at("can_run") == true);
  CHECK(row_of(small.at("plan"), "memory.size").at("severity") == "ok");
  for (const char* name : {"virtualisation", "/dev/kvm", "isolated CPUs", "IOMMU", "VFIO"}) {
    CHECK(row_of(small.at("host"), name).at("severity") == "ok");
  }
  // More than any host has.
  const Json large =
      checked_report(guard.vmrig({"host", "check", path, "--json", "--set", "memory.hugepages=2MiB",
                                  "--set", "memory.size=64TiB"}));
  CHECK(large.at("can_run") == false);
  CHECK(row_of(large.at("plan"), "memory.hugepages").at("severity") == "problem");

  const CommandResult text = guard.vmrig({"host", "check", path});
  CHECK(text.status == 0);
  CHECK(text.out.find("this host can run \"small\"\n") != std::string::npos);
  CHECK(text.out.find('\x1b') == std::string::npos);
}

TEST_CASE("host check goes on without a QEMU, and refuses a config that is none") {
  const VmGuard guard;
  Json config = guard.config("nowhere");
  config["qemu"] = "/nonexistent/qemu";
  const std::string path = guard.write_config(config);
  const Json report = checked_report(guard.vmrig({"host", "check", path, "--json"}));
  const Json row = row_of(report.at("plan"), "qemu");
  CHECK(row.at("severity") == "problem");
  CHECK(row.at("found").get<std::string>().find("/nonexistent/qemu") != std::string::npos);
  config["memory"]["sise"] = "1GiB";
  CHECK(guard.vmrig({"host", "check", guard.write_config(config)}).status == 2);
  CHECK(guard.vmrig({"host", "check", "/nonexistent/vm.json"}).status == 2);
  const CommandResult stray = guard.vmrig({"host", "check", "--set", "cpu.vcpus=2"});
  CHECK(stray.status == 2);
  CHECK(stray.err.find("needs a CONFIG") != std::string::npos);
}

}  // namespace
