// Limits by cgroup v2: what a config may say, and what is planned on which host.
#include <doctest/doctest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

#include "hostcfg/base/error.hpp"
#include "launcher/config/load_config.hpp"
#include "launcher/hotplug/attach_plan.hpp"
#include "tests/support/plan_inputs.hpp"

using namespace vmrig;
using namespace vmrig::testing;

namespace {

std::string config_faults(const std::string& json) {
  try {
    config_of(json);
  } catch (const DiagnosticsError& error) {
    std::string text;
    for (const Diagnostic& fault : error.diagnostics()) {
      text += fault.path + ": " + fault.message + "\n";
    }
    return text;
  }
  return {};
}

std::string with_limits(const std::string& limits, const std::string& more = {}) {
  return R"({"name": "l", "memory": {"size": "1GiB"}, "limits": {)" + limits + "}" + more + "}";
}

// Those about limits.
std::string warnings_of(const Plan& plan) {
  std::string text;
  for (const Diagnostic& finding : plan.preflight) {
    if (finding.severity != Severity::kWarning || !finding.path.starts_with("limits")) continue;
    text += finding.path + ": " + finding.message + "\n";
  }
  return text;
}

bool has(const std::string& text, const std::string& part) {
  const bool found = text.find(part) != std::string::npos;
  if (!found) MESSAGE("missing: " << part << "\nin: " << text);
  return found;
}

// Of the actions on cgroups: kind and text a line.
std::string steps_of(const std::vector<HostStep>& steps) {
  std::string text;
  for (const HostStep& step : steps) {
    text += std::string(action_kind(step.action)) + " " + step.text + " / " + step.undo + "\n";
  }
  return text;
}

HostFacts a_host() { return recorded_facts("vm-2cpu"); }

PathFacts image_on(const std::string& device) {
  PathFacts facts;
  facts.type = PathFacts::Type::kFile;
  facts.readable = facts.writable = true;
  facts.disk = device;
  return facts;
}

constexpr const char* kDisk =
    R"(, "disks": [{"id": "d", "path": "/i/a.img", "io_max": {"write_bps": "1MiB", "read_iops": 9}}])";

}  // namespace

TEST_CASE("limits that make no sense are config faults") {
  CHECK(config_faults(with_limits("")).empty());
  CHECK(has(config_faults(with_limits(R"("cpu_max": "250")")), "limits.cpu_max"));
  CHECK(has(config_faults(with_limits(R"("cpu_max": "0%")")), "limits.cpu_max"));
  CHECK(has(config_faults(with_limits(R"("cpu_weight": 0)")), "limits.cpu_weight: 0 is out of"));
  CHECK(has(config_faults(with_limits(R"("memory_max": "2GiB", "memory_high": "3GiB")")),
            "limits.memory_high: is more than \"memory_max\", 2GiB"));
  CHECK(has(config_faults(with_limits(R"("pids_max": 1)")), "limits.pids_max: 1 is out of range"));
  CHECK(has(config_faults(R"({"name": "l", "memory": {"size": "1GiB"}, "disks":
                              [{"id": "d", "path": "/i", "io_max": {}}]})"),
            "disks[0].io_max: limits nothing"));
  CHECK(cpu_max_percent("250%") == 250);
  CHECK(cpu_max_percent("9999999%") == 0);
}

TEST_CASE("a VM's limits become a group that VMs share, one of its own, and a limit on a device") {
  HostFacts facts = a_host();
  facts.paths["/i/a.img"] = image_on("8:0");
  const Plan plan = plan_of(
      with_limits(R"("cpu_weight": 50, "cpu_max": "250%", "memory_max": "2GiB", "pids_max": 512)",
                  kDisk),
      facts);
  CHECK(problems_of(plan) == "");
  CHECK(plan.cgroup == "/sys/fs/cgroup/vmrig/l");
  CHECK(
      steps_of(plan.host_steps) ==
      "cgroups /sys/fs/cgroup/vmrig: cpu, io, memory, pids / removed, when no VM uses it\n"
      "cgroup /sys/fs/cgroup/vmrig/l: cpu 250 %, cpu weight 50, memory 2GiB, 512 tasks / removed\n"
      "io-max d on device 8:0: 1MiB written a second, 9 reads a second / no limit\n");
  for (const HostStep& step : plan.host_steps) {
    CHECK(host_action_from_json(to_json(step.action)) == step.action);
  }
  const auto* group = std::get_if<CreateCgroup>(&plan.host_steps[1].action);
  REQUIRE(group != nullptr);
  CHECK(group->settings.at("cpu.max") == "250000 100000");
  const auto* limit = std::get_if<LimitDevice>(&plan.host_steps[2].action);
  REQUIRE(limit != nullptr);
  CHECK(limit->line() == "8:0 rbps=max wbps=1048576 riops=9 wiops=max");
}

TEST_CASE("a VM without limits stays where vmrig is") {
  const Plan plan = plan_of(R"({"name": "l", "memory": {"size": "1GiB"}})", a_host());
  CHECK(plan.cgroup.empty());
  CHECK(plan.host_steps.empty());
}

TEST_CASE("a host that can't limit is told of by the key that needs it") {
  HostFacts facts = a_host();
  const auto problems = [&facts](const std::string& limits) {
    return problems_of(plan_of(with_limits(limits), facts));
  };
  facts.cgroup.controllers = {"memory", "pids"};
  CHECK(has(problems(R"("cpu_weight": 5)"),
            "3 limits.cpu_weight: /sys/fs/cgroup has no cpu controller (it has memory, pids)"));
  CHECK(problems(R"("pids_max": 512)").empty());
  facts.cgroup.v1_controllers = {"cpu", "memory"};
  CHECK(has(problems(R"("cpu_max": "50%")"),
            "3 limits.cpu_max: the cpu controller is cgroup v1's here, limits need v2 | kernel"));
  facts.cgroup.base.clear();
  facts.cgroup.why_not = "it is not delegated";
  CHECK(has(problems(""),
            "3 limits: no group can be made below vmrig's own cgroup: it is not "
            "delegated | run vmrig as root, or systemd-run"));
  facts.cgroup.mount.clear();
  CHECK(has(problems(""), "3 limits: only cgroup v1 is mounted, limits need v2 | kernel"));
  facts.cgroup.v1_controllers.clear();
  CHECK(has(problems(""), "3 limits: no cgroup v2 hierarchy is mounted | mount -t cgroup2"));
}

TEST_CASE("memory_max has to leave room for the guest's memory, and for QEMU") {
  const HostFacts facts = a_host();
  const auto plan = [&facts](const std::string& most) {
    return plan_of(with_limits("\"memory_max\": \"" + most + "\""), facts);
  };
  CHECK(has(problems_of(plan("1GiB")),
            "2 limits.memory_max: the guest's 1GiB would not fit below "
            "\"memory_max\", 1GiB, and QEMU would be killed | "
            "\"memory_max\": \"1536MiB\""));
  CHECK(has(warnings_of(plan("1100MiB")), "limits.memory_max: \"memory_max\" leaves QEMU 76MiB"));
  CHECK(warnings_of(plan("1280MiB")).empty());
  HostFacts huge = recorded_facts("two-socket-72cpu");
  CHECK(problems_of(plan_of(R"({"name": "l", "memory": {"size": "1GiB", "hugepages": "1GiB"},
                               "limits": {"memory_max": "512MiB"}})",
                            huge))
            .empty());
}

TEST_CASE("too few tasks for QEMU's threads are a problem, few a warning") {
  const HostFacts facts = a_host();
  const auto plan = [&facts](const std::string& tasks) {
    return plan_of(R"({"name": "l", "memory": {"size": "1GiB"}, "cpu": {"vcpus": 1, "max_vcpus": 8},
                      "iothreads": [{"id": "io0"}], "limits": {"pids_max": )" +
                       tasks + "}}",
                   facts);
  };
  CHECK(has(problems_of(plan("11")),
            "2 limits.pids_max: 11 tasks are too few: 8 vCPUs, 1 "
            "iothreads and QEMU's own are 12 | \"pids_max\": 140"));
  CHECK(has(warnings_of(plan("139")), "limits.pids_max: with 139 tasks QEMU may lack workers"));
  CHECK(warnings_of(plan("140")).empty());
}

TEST_CASE("limits that a VM's threads would not feel, or feel too much, are warned of") {
  const HostFacts facts = recorded_facts("isolated-1gib");
  CHECK(has(warnings_of(plan_of(
                R"({"name": "l", "memory": {"size": "1GiB"}, "limits": {"cpu_max": "100%"},
                    "cpu": {"pin": ["2"], "emulator": "1", "scheduler": {"policy": "fifo",
                    "priority": 1}}})",
                facts)),
            "limits.cpu_max: real-time threads (\"scheduler\") are not limited by it"));
  CHECK(has(warnings_of(plan_of(with_limits(R"("cpu_max": "50%")"), a_host())),
            "limits.cpu_max: 50% is less than the 1 vCPUs can use"));
  CHECK(has(warnings_of(plan_of(with_limits(R"("io_weight": 50)"), a_host())), "io.cost.qos"));
  CHECK(has(warnings_of(plan_of(with_limits(R"("memory_high": "512MiB")"), a_host())),
            "limits.memory_high: 512MiB is less than the 1GiB of guest memory"));
}

TEST_CASE("a disk whose device the kernel can't limit, or limits already, is a problem") {
  HostFacts facts = a_host();
  facts.paths["/i/a.img"] = image_on("");
  CHECK(has(problems_of(plan_of(with_limits("", kDisk), facts)),
            "3 disks[0].io_max: \"/i/a.img\" is on no block device of its own"));
  facts.paths["/i/a.img"] = image_on("8:0");
  facts.paths["/i/b.img"] = image_on("8:0");
  CHECK(has(problems_of(plan_of(with_limits("", R"(, "disks": [
      {"id": "a", "path": "/i/a.img", "io_max": {"read_iops": 5}},
      {"id": "b", "path": "/i/b.img", "io_max": {"read_iops": 6}}])"),
                                facts)),
            "3 disks[1].io_max: \"/i/b.img\" is on device 8:0, which disks[0].io_max limits"));
}

TEST_CASE("a disk with io_max comes to a running VM that has a cgroup, and to no other") {
  HostFacts facts = a_host();
  facts.paths["/i/b.img"] = image_on("8:16");
  const VmConfig vm = config_of(with_limits(R"("memory_max": "2GiB")", R"(, "balloon": false)"));
  const AttachWish wish =
      read_wish(to_json(vm), DeviceKind::kDisk,
                {{"id", "b"}, {"path", "/i/b.img"}, {"io_max", {{"read_iops", 7}}}});
  const qmp::QemuCaps no_caps;
  const PlanInput input{
      .config = wish.alone, .facts = facts, .caps = no_caps, .qemu = {}, .leases = {}};
  AttachPlanOptions options;
  options.cgroup = "/sys/fs/cgroup/vmrig/l";
  CHECK(steps_of(plan_attach(wish, input, options).host_steps) ==
        "io-max b on device 8:16: 7 reads a second / no limit\n");
  CHECK_THROWS_WITH_AS(plan_attach(wish, input, AttachPlanOptions()),
                       doctest::Contains("started without a cgroup"), DiagnosticsError);
}

TEST_CASE("memory that would not fit below memory_max is not attached") {
  const HostFacts facts = a_host();
  const VmConfig vm = config_of(R"({"name": "l", "memory": {"size": "1GiB", "max": "4GiB"},
                                   "limits": {"memory_max": "1536MiB"}})");
  const AttachWish wish =
      read_wish(to_json(vm), DeviceKind::kMemory, {{"id", "m"}, {"size", "512MiB"}});
  const qmp::QemuCaps no_caps;
  const PlanInput input{
      .config = wish.alone, .facts = facts, .caps = no_caps, .qemu = {}, .leases = {}};
  CHECK_THROWS_WITH_AS(plan_attach(wish, input, AttachPlanOptions()),
                       doctest::Contains("would not fit below"), DiagnosticsError);
}
