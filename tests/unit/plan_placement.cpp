// Which CPUs and node a VM gets, on recorded hosts.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <random>
#include <string>

#include "tests/support/plan_inputs.hpp"

using namespace vmrig;
using namespace vmrig::testing;

namespace {

std::string vcpus(const Plan& plan) {
  std::vector<std::string> texts;
  for (const CpuSet& cpus : plan.placement.vcpus) texts.push_back(cpus.to_string());
  return fmt::format("{}", fmt::join(texts, " "));
}

bool mentions(const std::vector<std::string>& lines, const std::string& part) {
  for (const std::string& line : lines) {
    if (line.find(part) != std::string::npos) return true;
  }
  return false;
}

bool has(const std::string& text, const std::string& part) {
  const bool found = text.find(part) != std::string::npos;
  if (!found) MESSAGE("missing: " << part << "\nin: " << text);
  return found;
}

constexpr const char* kRouter =
    R"({"name": "r", "profile": "nfv", "cpu": {"vcpus": 8}, "memory": {"size": "8GiB"}})";

}  // namespace

TEST_CASE("the reference router gets cores 1-8 of node 0, and the emulator their siblings") {
  const Plan plan = plan_of(kRouter, recorded_facts("two-socket-72cpu"));
  CHECK(problems_of(plan).empty());
  CHECK(vcpus(plan) == "1 2 3 4 5 6 7 8");
  CHECK(plan.placement.emulator.to_string() == "37-44");
  CHECK(plan.placement.node == 0);
  CHECK(plan.hugepages == HugepageSize::k1GiB);
  CHECK(plan.claim.exclusive_cpus.to_string() == "1-8,37-44");
  CHECK(mentions(plan.placement.reasons, "CPUs 1-8,37-44 isolated"));
  CHECK(mentions(plan.placement.passed_over, "CPU 0 (housekeeping)"));
  CHECK(mentions(plan.placement.passed_over, "node 1"));
}

TEST_CASE("a node that is short of pages is passed over, and that is said") {
  HostFacts facts = recorded_facts("two-socket-72cpu");
  facts.nodes.at(0).hugepages.at(0).free = 3;
  for (HugepagePool& pool : facts.nodes.at(0).hugepages) pool.free = 3;
  const Plan plan = plan_of(kRouter, facts);
  CHECK(problems_of(plan).empty());
  CHECK(plan.placement.node == 1);
  CHECK(vcpus(plan) == "18 19 20 21 22 23 24 25");
  CHECK(mentions(plan.placement.passed_over, "node 0 (3 free 1GiB pages)"));
}

TEST_CASE("hugepages short on every node is a problem with the command that mends it") {
  HostFacts facts = recorded_facts("two-socket-72cpu");
  for (NumaNode& node : facts.nodes) {
    for (HugepagePool& pool : node.hugepages) pool.free = 3;
  }
  const std::string text = problems_of(plan_of(kRouter, facts));
  CHECK(has(text, "3 memory.hugepages: node 0 has 3 free 1GiB pages, 8 are needed | echo "));
  CHECK(has(text, "> /sys/devices/system/node/node0/hugepages/hugepages-1048576kB/nr_hugepages"));
}

TEST_CASE("CPUs that another VM holds are left to it, and a list of them is refused") {
  Lease other;
  other.vm = "first";
  other.exclusive_cpus = CpuSet::parse("1-8,37-44");
  const HostFacts facts = recorded_facts("two-socket-72cpu");
  const Plan plan = plan_of(kRouter, facts, {other});
  CHECK(problems_of(plan).empty());
  for (const CpuSet& cpus : plan.placement.vcpus) CHECK((cpus & other.exclusive_cpus).empty());
  CHECK((plan.placement.emulator & other.exclusive_cpus).empty());
  const std::string text = problems_of(plan_of(
      R"({"name": "b", "memory": {"size": "1GiB"}, "cpu": {"pin": ["8"]}})", facts, {other}));
  CHECK(has(text, "6 cpu.pin[0]: CPU 8 is held by VM \"first\" | vmrig stop first"));
}

TEST_CASE("when others hold so much that none are left, the holder is named") {
  Lease other;
  other.vm = "greedy";
  other.exclusive_cpus = CpuSet::parse("1-15");
  const std::string text = problems_of(
      plan_of(R"({"name": "b", "memory": {"size": "1GiB"}, "cpu": {"vcpus": 2, "pin": "auto"}})",
              recorded_facts("isolated-1gib"), {other}));
  CHECK(has(text, "6 cpu.pin: 2 CPUs are needed"));
  CHECK(has(text, "held by VM \"greedy\" | vmrig stop greedy"));
}

TEST_CASE(
    "a pin to a CPU that is absent, offline or outside the cpuset is refused each in its way") {
  HostFacts facts = recorded_facts("container-cpuset");
  auto pin = [&facts](int cpu) {
    return problems_of(plan_of(
        fmt::format(R"({{"name": "b", "memory": {{"size": "1GiB"}}, "cpu": {{"pin": ["{}"]}}}})",
                    cpu),
        facts));
  };
  CHECK(pin(8).find("cpu.pin") == std::string::npos);
  CHECK(has(pin(3), "3 cpu.pin[0]: CPU 3 is outside the cpuset that vmrig runs in (8-11)"));
  CHECK(has(pin(999), "3 cpu.pin[0]: this host has no CPU 999"));
  std::erase_if(facts.cpus, [](const CpuFacts& cpu) { return cpu.id == 9; });
  CHECK(
      has(pin(9), "3 cpu.pin[0]: CPU 9 is offline | echo 1 > /sys/devices/system/cpu/cpu9/online"));
}

TEST_CASE("in a container only its cpuset is used") {
  const Plan plan = plan_of(
      R"({"name": "c", "memory": {"size": "256MiB"}, "cpu": {"vcpus": 3, "pin": "auto", "emulator": "auto"}})",
      recorded_facts("container-cpuset"));
  CHECK(problems_of(plan).empty());
  const CpuSet allowed = CpuSet::parse("8-11");
  for (const CpuSet& cpus : plan.placement.vcpus) CHECK(allowed.includes(cpus));
  CHECK(allowed.includes(plan.placement.emulator));
  CHECK(plan.placement.emulator.size() == 1);
}

TEST_CASE("more pinned vCPUs than CPUs is refused with the number that fits") {
  const std::string text = problems_of(
      plan_of(R"({"name": "m", "memory": {"size": "256MiB"}, "cpu": {"vcpus": 3, "pin": "auto"}})",
              recorded_facts("vm-2cpu")));
  CHECK(has(
      text,
      "3 cpu.pin: 3 CPUs are needed, one a vCPU; this host has 2 (CPUs 0-1) | --set cpu.vcpus=2"));
}

TEST_CASE("on a small host CPU 0 is used, last and with a word") {
  const Plan plan =
      plan_of(R"({"name": "m", "memory": {"size": "256MiB"}, "cpu": {"vcpus": 2, "pin": "auto"}})",
              recorded_facts("vm-2cpu"));
  CHECK(vcpus(plan) == "0 1");
  CHECK(mentions(plan.placement.reasons, "CPU 0"));
  const Plan one =
      plan_of(R"({"name": "m", "memory": {"size": "256MiB"}, "cpu": {"vcpus": 1, "pin": "auto"}})",
              recorded_facts("vm-2cpu"));
  CHECK(vcpus(one) == "1");
}

TEST_CASE("a node that is not there is refused") {
  const std::string text =
      problems_of(plan_of(R"({"name": "m", "memory": {"size": "1GiB", "node": 7}})",
                          recorded_facts("two-socket-72cpu")));
  CHECK(has(text, "3 memory.node: this host has no NUMA node 7"));
}

TEST_CASE("placement never breaks its rules on 200 random machines and wishes") {
  std::mt19937 random(20260101);  // a fixed seed: a failure can be repeated
  auto pick = [&random](int low, int high) {
    return static_cast<int>(random() % static_cast<unsigned>(high - low + 1)) + low;
  };
  int good = 0;
  for (int round = 0; round < 200; ++round) {
    CAPTURE(round);
    HostFacts facts = recorded_facts("vm-2cpu");
    facts.cpus.clear();
    facts.nodes.clear();
    facts.allowed = facts.isolated = facts.present = CpuSet{};
    facts.allowed_nodes = CpuSet{};
    const int nodes = pick(1, 4);
    const int cores = pick(1, 12);
    const int threads = pick(1, 2);
    for (int n = 0; n < nodes; ++n) {
      NumaNode node;
      node.id = n;
      node.memory_total = Bytes::gib(16);
      node.memory_free = Bytes::gib(static_cast<std::uint64_t>(pick(1, 16)));
      facts.allowed_nodes.insert(n);
      for (int c = 0; c < cores; ++c) {
        for (int t = 0; t < threads; ++t) {
          const int core = n * cores + c;
          const int id = core + t * nodes * cores;
          facts.cpus.push_back({.id = id, .core = core, .package = n, .node = n, .l3 = n});
          node.cpus.insert(id);
          facts.present.insert(id);
          if (pick(0, 9) > 0) facts.allowed.insert(id);
          if (pick(0, 2) == 0) facts.isolated.insert(id);
        }
      }
      facts.nodes.push_back(node);
    }
    Lease other;
    other.vm = "other";
    for (int cpu : facts.present.cpus()) {
      if (pick(0, 4) == 0) other.exclusive_cpus.insert(cpu);
    }
    const char* smt[] = {"use", "emulator", "isolate"};
    const int count = pick(1, 8);
    const std::string config = fmt::format(
        R"({{"name": "x", "memory": {{"size": "1GiB", "node": "auto"}}, "cpu": {{"vcpus": {}, "pin": "auto",
            "emulator": "auto", "smt": "{}", "exclusive": true}}}})",
        count, smt[pick(0, 2)]);
    const Plan plan = plan_of(config, facts, {other});
    const Plan again = plan_of(config, facts, {other});
    CHECK(vcpus(plan) == vcpus(again));
    CHECK(plan.placement.emulator == again.placement.emulator);
    if (!problems_of(plan).empty()) continue;
    ++good;
    CpuSet taken;
    for (const CpuSet& cpus : plan.placement.vcpus) {
      REQUIRE(cpus.size() == 1);
      CHECK((taken & cpus).empty());
      taken = taken | cpus;
    }
    CHECK((taken & plan.placement.emulator).empty());
    CHECK(facts.allowed.includes(taken | plan.placement.emulator));
    CHECK(((taken | plan.placement.emulator) & other.exclusive_cpus).empty());
    REQUIRE(plan.placement.node.has_value());
    CHECK(facts.find_node(*plan.placement.node)->cpus.includes(taken));
  }
  CHECK(good > 40);
}
