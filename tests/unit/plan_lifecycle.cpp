// What follows when a guest powers off, reboots, panics or hangs; channels to it.
#include <doctest/doctest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "hostcfg/base/error.hpp"
#include "launcher/config/load_config.hpp"
#include "launcher/power_plan.hpp"
#include "tests/support/plan_inputs.hpp"

using namespace vmrig;
using namespace vmrig::testing;

namespace {

std::string line_of(const std::vector<QemuArgument>& arguments) {
  std::string line;
  for (const QemuArgument& argument : arguments) {
    for (const std::string& word : argument.words) line += (line.empty() ? "" : " ") + word;
  }
  return line;
}

std::string ends(const std::string& keys, const std::string& version) {
  const VmConfig config = config_of(R"({"name": "v", "memory": {"size": "64MiB"}, )" + keys + "}");
  return line_of(power_arguments(config, recorded_caps(version)));
}

std::string faults_of(const std::string& keys) {
  try {
    (void)config_of(R"({"name": "v", "memory": {"size": "64MiB"}, )" + keys + "}");
  } catch (const DiagnosticsError& error) {
    std::string text;
    for (const Diagnostic& fault : error.diagnostics()) {
      text += fault.path + ": " + fault.message + " | " + fault.mend + "\n";
    }
    return text;
  }
  return {};
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

Plan plan_with(const std::string& keys, const char* version = "7.2") {
  const VmConfig config = config_of(R"({"name": "v", "memory": {"size": "64MiB"}, )" + keys + "}");
  const HostFacts facts = recorded_facts("vm-2cpu");
  const qmp::QemuCaps caps = recorded_caps(version);
  return make_plan({.config = config, .facts = facts, .caps = caps, .qemu = "/q", .leases = {}});
}

}  // namespace

TEST_CASE("what QEMU does by default is not said to it") {
  for (const char* version : {"5.2", "7.2", "10.0", "11.1"}) {
    CHECK(ends(R"("power": {})", version).empty());
    CHECK(ends(R"("power": {"on_poweroff": "restart", "on_crash": "restart"})", version).empty());
  }
}

TEST_CASE("a QEMU with -action is told each end by itself, one without by what it has") {
  const std::string off = R"("power": {"on_poweroff": "preserve"})";
  const std::string crash = R"("power": {"on_crash": "preserve"})";
  const std::string reboot = R"("power": {"on_reboot": "destroy"})";
  for (const char* version : {"7.2", "10.0", "11.1"}) {
    CHECK(ends(off, version) == "-action shutdown=pause");
    CHECK(ends(crash, version) == "-action panic=pause");
    CHECK(ends(reboot, version) == "-action reboot=shutdown");
  }
  // It stands still after both then: the supervisor ends it after the one that is not to be kept.
  CHECK(ends(off, "5.2") == "-no-shutdown");
  CHECK(ends(crash, "5.2") == "-no-shutdown");
  CHECK(ends(reboot, "5.2") == "-no-reboot");
}

TEST_CASE("what stands still is kept only where the config asks for it") {
  PowerConfig power;
  CHECK_FALSE(may_stand_still(power, Standstill::kShutdown, "guest-shutdown"));
  CHECK_FALSE(may_stand_still(power, Standstill::kPanic, ""));
  power.on_poweroff = OnEnd::kPreserve;
  CHECK(may_stand_still(power, Standstill::kShutdown, "guest-shutdown"));
  // A reboot that ends the VM, and a quit, stop QEMU in the same way.
  CHECK_FALSE(may_stand_still(power, Standstill::kShutdown, "guest-reset"));
  CHECK_FALSE(may_stand_still(power, Standstill::kShutdown, "host-qmp-quit"));
  CHECK_FALSE(may_stand_still(power, Standstill::kPanic, ""));
  power.on_crash = OnEnd::kPreserve;
  CHECK(may_stand_still(power, Standstill::kPanic, ""));
}

TEST_CASE("a pvpanic device is there where QEMU has it, unless it is refused") {
  const auto count = [](const Plan& plan) {
    const std::vector<std::string> argv = plan.argv();
    return std::count_if(argv.begin(), argv.end(),
                         [](const std::string& word) { return has(word, "pvpanic"); });
  };
  CHECK(count(plan_with(R"("power": {})")) == 1);
  CHECK(count(plan_with(R"("machine": {"type": "pc"})")) == 1);
  CHECK(count(plan_with(R"("power": {"pvpanic": false})")) == 0);

  qmp::QemuCaps caps = recorded_caps("7.2");
  caps.devices.erase("pvpanic");
  const HostFacts facts = recorded_facts("vm-2cpu");
  VmConfig config = config_of(R"({"name": "v", "memory": {"size": "64MiB"}})");
  const auto plan = [&] {
    return make_plan({.config = config, .facts = facts, .caps = caps, .qemu = "/q", .leases = {}});
  };
  CHECK(count(plan()) == 0);
  CHECK(plan().problems().empty());
  config.power.pvpanic = true;
  CHECK(has(problems_of(plan()), "power.pvpanic: this QEMU has no device \"pvpanic\""));
}

TEST_CASE("each watchdog comes with its action, and the chipset's needs no card") {
  CHECK(ends(R"("watchdog": {})", "7.2") == "-watchdog-action reset");
  CHECK(ends(R"("watchdog": {"action": "inject-nmi"})", "5.2") == "-watchdog-action inject-nmi");
  CHECK(ends(R"("watchdog": {"model": "itco", "action": "pause"})", "10.0") ==
        "-watchdog-action pause -global ICH9-LPC.noreboot=off");
  const auto card = [](const std::string& keys) {
    for (const QemuArgument& argument : plan_with(keys).arguments) {
      if (argument.origin == "watchdog") return argument.words.back();
    }
    return std::string();
  };
  CHECK(has(card(R"("watchdog": {"model": "i6300esb"})"), R"("bus":"vmrig-port)"));
  CHECK(card(R"("watchdog": {"model": "ib700"})") ==
        R"({"driver":"ib700","id":"vmrig-watchdog0"})");
  CHECK(card(R"("watchdog": {"model": "itco"})").empty());
  CHECK(has(faults_of(R"("machine": {"type": "pc"}, "watchdog": {"model": "itco"})"),
            "watchdog.model: is in the chipset of a q35 machine"));
  CHECK(has(faults_of(R"("watchdog": {"action": "dump"})"), "watchdog.action"));
  CHECK(faults_of(R"("watchdog": null)").empty());
}

TEST_CASE("a channel is a port of a controller that all channels share") {
  const Plan plan =
      plan_with(R"("channels": [{"name": "org.qemu.guest_agent.0"}, {"name": "2", "id": "c2"}])");
  std::vector<std::string> words;
  for (const QemuArgument& argument : plan.arguments) {
    if (argument.origin.starts_with("channels[") || has(argument.origin, "channels share")) {
      words.insert(words.end(), argument.words.begin() + 1, argument.words.end());
    }
  }
  REQUIRE(words.size() == 5);
  CHECK(has(words[0], R"("driver":"virtio-serial-pci")"));
  CHECK(words[1] == "socket,id=vmrig-channel-org.qemu.guest_agent.0,fd=12,server=on,wait=off");
  CHECK(words[2] == R"({"bus":"vmrig-serial0.0","chardev":"vmrig-channel-org.qemu.guest_agent.0",)"
                    R"("driver":"virtserialport","id":"org.qemu.guest_agent.0",)"
                    R"("name":"org.qemu.guest_agent.0"})");
  CHECK(has(words[4], R"("name":"2")"));
  REQUIRE(plan.fds.size() == 4);
  CHECK(plan.fds[2].source.name == "org.qemu.guest_agent.0.sock");
  CHECK(plan.fds[2].origin == "channels[0]");
  CHECK(plan.fds[3].source.name == "c2.sock");
}

TEST_CASE("a channel's name and id are refused where they could be no port or no socket") {
  CHECK(faults_of(R"("channels": [{"name": "a.b-c_0"}])").empty());
  CHECK(has(faults_of(R"("channels": [{"name": "../x"}])"), "channels[0].name"));
  CHECK(has(faults_of(R"("channels": [{"name": ".x"}])"), "channels[0].name"));
  CHECK(has(faults_of(R"("channels": [{"name": ""}])"), "channels[0].name"));
  CHECK(has(faults_of(R"("channels": [{}])"), "channels[0].name"));
  CHECK(has(faults_of(R"("channels": [{"name": "0"}])"),
            "channels[0].id: is missing: the channel's name can't be one"));
  CHECK(has(faults_of(R"("channels": [{"name": "com.example.a-name-that-is-long"}])"),
            "channels[0].id: is missing"));
  CHECK(has(faults_of(R"("channels": [{"name": "a"}, {"name": "a", "id": "b"}])"),
            "channels[1].name: \"a\" is the name of channels[0] already"));
  CHECK(has(faults_of(R"("channels": [{"name": "a"}, {"name": "b", "id": "a"}])"),
            "\"a\" is the id of channels[0].id already"));
  CHECK(has(faults_of(R"("channels": [{"name": "con0"}])"), "serial[0].id"));
  for (const char* taken : {"monitor", "qmp", "console"}) {
    CHECK(has(faults_of(std::string(R"("channels": [{"name": ")") + taken + "\"}]"),
              "channels[0].id"));
    CHECK(has(faults_of(std::string(R"("serial": [{"id": ")") + taken + "\"}]"),
              ".sock is a socket of vmrig's own"));
  }
}

TEST_CASE("a channel without an id has its name as one, in the record too") {
  const VmConfig config =
      config_of(R"({"name": "v", "memory": {"size": "64MiB"}, "channels": [{"name": "a.b"}]})");
  CHECK(config.channels.at(0).id == "a.b");
  CHECK(to_json(config).at("channels").at(0).at("id") == "a.b");
  CHECK(config_from_json(to_json(config)).channels.at(0).id == "a.b");
}

TEST_CASE("words and numbers of the ends are checked") {
  CHECK(has(faults_of(R"("power": {"on_crash": "dump"})"), "power.on_crash"));
  CHECK(has(faults_of(R"("power": {"on_reboot": "preserve"})"), "power.on_reboot"));
  CHECK(has(faults_of(R"("power": {"on_poweroff": true})"), "power.on_poweroff"));
  CHECK(has(faults_of(R"("power": {"max_restarts": 0})"), "power.max_restarts"));
  CHECK(faults_of(R"("power": {"on_crash": "preserve", "on_poweroff": "restart",
                               "on_reboot": "destroy", "max_restarts": 1})")
            .empty());
}
