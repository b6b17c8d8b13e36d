// Real-time threads: what a config may ask for, and what the host is told to be short of.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "hostcfg/base/error.hpp"
#include "launcher/config/load_config.hpp"
#include "launcher/vm_state.hpp"
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

std::string with_cpu(const std::string& cpu) {
  return R"({"name": "s", "memory": {"size": "64MiB"}, "cpu": {)" + cpu + "}}";
}

std::string findings_of(const Plan& plan, Severity severity) {
  std::string text;
  for (const Diagnostic& finding : plan.preflight) {
    if (finding.severity == severity) text += finding.path + ": " + finding.message + "\n";
  }
  return text;
}

bool has(const std::string& text, const std::string& part) {
  const bool found = text.find(part) != std::string::npos;
  if (!found) MESSAGE("missing: " << part << "\nin: " << text);
  return found;
}

constexpr const char* kFifo = R"("scheduler": {"policy": "fifo", "priority": 10})";

}  // namespace

TEST_CASE("a scheduler is read, written, and the default is the kernel's own") {
  const VmConfig plain = config_of(with_cpu(""));
  CHECK_FALSE(plain.cpu.scheduler.is_realtime());
  VmConfig config = config_of(
      R"({"name": "s", "memory": {"size": "64MiB"}, "cpu": {)" + std::string(kFifo) +
      R"(}, "iothreads": [{"id": "io0", "scheduler": {"policy": "rr", "priority": 99}}]})");
  CHECK(to_string(config.cpu.scheduler) == "fifo 10");
  CHECK(to_string(config.iothreads[0].scheduler) == "rr 99");
  CHECK(config_from_json(to_json(config)).cpu.scheduler == config.cpu.scheduler);
  CHECK(thread_scheduler_from_json(to_json(config.cpu.scheduler)) == config.cpu.scheduler);
}

TEST_CASE("a real-time policy needs a priority, and another has none") {
  CHECK(has(config_faults(with_cpu(R"("scheduler": {"policy": "fifo"})")),
            "cpu.scheduler.priority: is needed with a real-time policy"));
  CHECK(has(config_faults(with_cpu(R"("scheduler": {"priority": 5})")),
            "cpu.scheduler.priority: is of no use with the policy \"other\""));
  CHECK(has(config_faults(with_cpu(R"("scheduler": {"policy": "fifo", "priority": 100})")),
            "cpu.scheduler.priority: 100 is out of range"));
  CHECK(has(config_faults(with_cpu(R"("scheduler": {"policy": "deadline"})")),
            "cpu.scheduler.policy"));
}

TEST_CASE("real-time without the right to it is a problem of the host, with its mend") {
  HostFacts facts = recorded_facts("isolated-1gib");
  facts.can_sys_nice = false;
  const std::string config = with_cpu(std::string(R"("pin": ["2"], "emulator": "1", )") + kFifo);
  CHECK(has(problems_of(plan_of(config, facts)),
            "3 cpu.scheduler: fifo 10 needs CAP_SYS_NICE, or a limit on real-time priority of 10 "
            "(it is 0) | run vmrig as root, or ulimit -r 10"));
  facts.rtprio_limit = 9;
  CHECK_FALSE(problems_of(plan_of(config, facts)).empty());
  facts.rtprio_limit = 10;
  CHECK(problems_of(plan_of(config, facts)).empty());
  facts.rtprio_limit = 0;
  CHECK(problems_of(plan_of(with_cpu(""), facts)).empty());
}

TEST_CASE("real-time vCPUs that could starve the host are warned of") {
  HostFacts facts = recorded_facts("isolated-1gib");
  const auto warnings = [&facts](const std::string& cpu) {
    return findings_of(plan_of(with_cpu(cpu + kFifo), facts), Severity::kWarning);
  };
  CHECK(warnings(R"("pin": ["2"], "emulator": "1", )").empty());
  CHECK(has(warnings(""), "cpu.scheduler: the vCPUs may run anywhere"));
  CHECK(
      has(warnings(R"("pin": ["1"], "emulator": "0", )"), "cpu.scheduler: CPU 1 is not isolated"));
  CHECK(has(warnings(R"("pin": ["2"], "emulator": "2", )"),
            "QEMU's other threads run on CPU 2 as well"));
  CHECK(has(warnings(R"("pin": ["1"], )"), "QEMU's other threads run on CPU 1 as well"));
  facts.rt_runtime_us = 950'000;
  facts.rt_period_us = 1'000'000;
  CHECK(has(warnings(R"("pin": ["2"], "emulator": "1", )"),
            "stops a real-time thread that is busy all the time for 50 ms in 1000 ms"));
  facts.rt_runtime_us = -1;
  CHECK(warnings(R"("pin": ["2"], "emulator": "1", )").empty());
}

TEST_CASE("a thread's scheduler stands in the state, and older states have none") {
  VmState state;
  state.threads = {{"vcpu", "0", 101, CpuSet{2}, {SchedulerPolicy::kFifo, 3}}};
  Json json = to_json(state);
  CHECK(vm_state_from_json(json).threads[0].scheduler == state.threads[0].scheduler);
  json["threads"][0].erase("scheduler");
  CHECK_FALSE(vm_state_from_json(json).threads[0].scheduler.is_realtime());
}
