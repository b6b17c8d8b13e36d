// Whole plans against their recorded form, and every command line against a real QEMU.
//
// VMRIG_UPDATE_GOLDEN=1 writes the recorded form anew; read the difference before committing it.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "hostcfg/base/error.hpp"
#include "hostcfg/facts.hpp"
#include "launcher/caps_cache.hpp"
#include "launcher/config/load_config.hpp"
#include "launcher/machine_map.hpp"
#include "launcher/plan.hpp"
#include "launcher/show_plan.hpp"
#include "tests/golden/start_qemu.hpp"
#include "tests/support/plan_inputs.hpp"
#include "tests/support/skip.hpp"
#include "tests/support/temp_folder.hpp"

using namespace vmrig;
using namespace vmrig::testing;

namespace {

struct Case {
  std::string config;  // tests/golden/NAME.json
  std::string facts;   // tests/data/facts/NAME.json
};

const std::vector<Case>& cases() {
  static const std::vector<Case> list = {
      {"minimal", "vm-2cpu"},
      {"minimal", "no-kvm"},
      {"router", "two-socket-72cpu"},
      {"router", "isolated-1gib"},
      {"router-2mib", "two-socket-72cpu"},
      {"router-vf", "two-socket-72cpu"},
      {"passthrough-pc", "two-socket-72cpu"},
      {"by-hand", "two-socket-72cpu"},
      {"all-devices", "vm-2cpu"},
      {"all-devices-pc", "no-kvm"},
      {"scsi-usb", "vm-2cpu"},
      {"scsi-usb-pc", "no-kvm"},
      {"kernel-boot", "container-cpuset"},
      {"hotplug-room", "isolated-1gib"},
      {"hostile-paths", "vm-2cpu"},
      {"network", "two-socket-72cpu"},
      {"guest-nodes", "two-socket-72cpu"},
      {"wide", "two-socket-512cpu"},
      {"router", "two-socket-512cpu"},
      {"limits", "isolated-1gib"},
      {"memory", "two-socket-72cpu"},
      {"lifecycle", "vm-2cpu"},
      {"lifecycle-pc", "no-kvm"},
  };
  return list;
}

Plan plan_of(const Case& which, const qmp::QemuCaps& caps) {
  const std::string file = which.config + ".json";
  const std::string text = read_text(VMRIG_GOLDEN "/" + file);
  REQUIRE_MESSAGE(!text.empty(), "no such file: " << file);
  const VmConfig config = load_config(
      {.text = text, .file = file, .folder = "/vms", .environment = {}, .settings = {}});
  const HostFacts facts = recorded_facts(which.facts);
  return make_plan({.config = config,
                    .facts = facts,
                    .caps = caps,
                    .qemu = "/usr/bin/qemu-system-x86_64",
                    .leases = {}});
}

// What is compared: the screen that a user sees, then each argument with its origin.
std::string golden_text(const Plan& plan, const Case& which) {
  const HostFacts facts = recorded_facts(which.facts);
  std::string text = show_plan(plan, {.colour = Colour::kOff,
                                      .columns = 100,
                                      .host_nodes = facts.nodes.size(),
                                      .machine = map_machine(facts, seats_of(plan))});
  text += "\narguments\n";
  for (const QemuArgument& argument : plan.arguments) {
    text += fmt::format("  {:<30}", argument.origin);
    for (const std::string& word : argument.words) text += " " + word;
    text += "\n";
  }
  text += "fds\n";
  for (const ChildFd& fd : plan.fds) text += fmt::format("  {} {}\n", fd.number, fd.source.name);
  return text;
}

void compare(const std::string& name, const std::string& text) {
  const std::string path = VMRIG_GOLDEN "/expected/" + name + ".txt";
  const char* update = std::getenv("VMRIG_UPDATE_GOLDEN");
  if (update != nullptr && std::string(update) == "1") {
    write_text(path, text);
    return;
  }
  const std::string expected = read_text(path);
  CHECK_MESSAGE(text == expected, name << " differs from " << path << "; now it is:\n" << text);
}

}  // namespace

TEST_CASE("every golden plan is as recorded, for QEMU 7.2") {
  const qmp::QemuCaps caps = recorded_caps("7.2");
  for (const Case& which : cases()) {
    CAPTURE(which.config);
    compare(which.config + "." + which.facts, golden_text(plan_of(which, caps), which));
  }
}

TEST_CASE("the router's plan is as recorded for other QEMUs, in the forms that they take") {
  const Case router{"router", "two-socket-72cpu"};
  for (const char* version : {"5.2", "10.0", "11.1"}) {
    compare(fmt::format("router.two-socket-72cpu.qemu-{}", version),
            golden_text(plan_of(router, recorded_caps(version)), router));
  }
}

TEST_CASE("the network's plan is as recorded for other QEMUs, in the forms that they take") {
  const Case network{"network", "two-socket-72cpu"};
  for (const char* version : {"5.2", "10.0"}) {
    compare(fmt::format("network.two-socket-72cpu.qemu-{}", version),
            golden_text(plan_of(network, recorded_caps(version)), network));
  }
}

TEST_CASE("throttles and a balloon are as recorded for other QEMUs, in the forms that they take") {
  const Case limits{"limits", "isolated-1gib"};
  for (const char* version : {"5.2", "10.0"}) {
    compare(fmt::format("limits.isolated-1gib.qemu-{}", version),
            golden_text(plan_of(limits, recorded_caps(version)), limits));
  }
}

TEST_CASE(
    "what follows a guest's end is as recorded for other QEMUs, in the forms that they take") {
  const Case lifecycle{"lifecycle", "vm-2cpu"};
  for (const char* version : {"5.2", "10.0"}) {
    compare(fmt::format("lifecycle.vm-2cpu.qemu-{}", version),
            golden_text(plan_of(lifecycle, recorded_caps(version)), lifecycle));
  }
}

TEST_CASE("a plan made twice is the same") {
  const qmp::QemuCaps caps = recorded_caps("7.2");
  for (const Case& which : cases()) {
    CHECK(to_json(plan_of(which, caps)) == to_json(plan_of(which, caps)));
  }
}

TEST_CASE("every argument says where it comes from") {
  const qmp::QemuCaps caps = recorded_caps("7.2");
  for (const Case& which : cases()) {
    for (const QemuArgument& argument : plan_of(which, caps).arguments) {
      CHECK_FALSE(argument.origin.empty());
      CHECK_FALSE(argument.words.empty());
    }
  }
}

namespace {

// Taps and macvtaps that are not there; the integration tests make them.
bool has_foreign_fds(const Plan& plan) {
  using Kind = FdSource::Kind;
  return std::any_of(plan.fds.begin(), plan.fds.end(), [](const ChildFd& fd) {
    const Kind kind = fd.source.kind;
    return kind == Kind::kTapQueue || kind == Kind::kMacvtapQueue || kind == Kind::kVhostNet ||
           kind == Kind::kPasst || kind == Kind::kMemory;
  });
}

// Each golden command line on that QEMU; passed devices are another host's, the lab has its own.
void start_all_on(const std::string& qemu) {
  const qmp::QemuCaps caps = load_caps(qemu, {});
  for (const Case& which : cases()) {
    CAPTURE(which.config);
    CAPTURE(which.facts);
    const Plan plan = plan_of(which, caps);
    if (!plan.passed.empty() || has_foreign_fds(plan)) continue;
    CHECK(start_and_quit(plan, qemu) == "");
  }
}

std::string qemu_of(const char* variable) {
  const char* path = std::getenv(variable);
  return path == nullptr ? std::string() : std::string(path);
}

}  // namespace

TEST_CASE("every golden command line starts the system's QEMU, which answers QMP and quits") {
  start_all_on(find_qemu("", "/usr/bin:/bin:/usr/local/bin"));
}

TEST_CASE("every golden command line starts QEMU 10.0 too") {
  const std::string qemu = qemu_of("VMRIG_QEMU10");
  if (qemu.empty()) SKIP_TEST("VMRIG_QEMU10 is not set");
  start_all_on(qemu);
}

TEST_CASE("every golden command line starts QEMU 5.2, in the flat form that it takes") {
  const std::string qemu = qemu_of("VMRIG_QEMU52");
  if (qemu.empty()) SKIP_TEST("VMRIG_QEMU52 is not set (tests/lib/qemu_suite.sh 5.2)");
  start_all_on(qemu);
}

TEST_CASE("every golden command line starts QEMU 11.1 too") {
  const std::string qemu = qemu_of("VMRIG_QEMU111");
  if (qemu.empty()) SKIP_TEST("VMRIG_QEMU111 is not set (tests/lib/qemu_suite.sh 11.1)");
  start_all_on(qemu);
}
