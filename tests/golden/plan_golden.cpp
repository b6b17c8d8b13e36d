// Whole plans against their recorded form, and every command line against a real QEMU.
//
// VMRIG_UPDATE_GOLDEN=1 writes the recorded form anew; read the difference before committing it.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "hostcfg/base/error.hpp"
#include "hostcfg/facts.hpp"
#include "launcher/caps_cache.hpp"
#include "launcher/config/load_config.hpp"
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
      {"kernel-boot", "container-cpuset"},
      {"hotplug-room", "isolated-1gib"},
      {"hostile-paths", "vm-2cpu"},
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
  const std::size_t nodes = recorded_facts(which.facts).nodes.size();
  std::string text = show_plan(plan, {.colour = Colour::kOff, .columns = 100, .host_nodes = nodes});
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

TEST_CASE("the router's plan is as recorded for QEMU 10.0, in the forms that it takes") {
  const Case router{"router", "two-socket-72cpu"};
  compare("router.two-socket-72cpu.qemu-10.0",
          golden_text(plan_of(router, recorded_caps("10.0")), router));
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

TEST_CASE("every golden command line starts the system's QEMU, which answers QMP and quits") {
  const std::string qemu = find_qemu("", "/usr/bin:/bin:/usr/local/bin");
  const qmp::QemuCaps caps = load_caps(qemu, {});
  for (const Case& which : cases()) {
    CAPTURE(which.config);
    CAPTURE(which.facts);
    const Plan plan = plan_of(which, caps);
    if (!plan.passed.empty()) continue;  // their devices are another host's; the lab has its own
    CHECK(start_and_quit(plan, qemu) == "");
  }
}

TEST_CASE("every golden command line starts QEMU 10.0 too") {
  const char* qemu10 = std::getenv("VMRIG_QEMU10");
  if (qemu10 == nullptr || *qemu10 == '\0') SKIP_TEST("VMRIG_QEMU10 is not set");
  const qmp::QemuCaps caps = load_caps(qemu10, {});
  for (const Case& which : cases()) {
    CAPTURE(which.config);
    CAPTURE(which.facts);
    const Plan plan = plan_of(which, caps);
    if (!plan.passed.empty()) continue;
    CHECK(start_and_quit(plan, qemu10) == "");
  }
}
