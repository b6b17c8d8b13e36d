// Which CPUs and node a VM gets, on recorded hosts.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <random>
#include <set>
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
  // The kernel does not balance isolated CPUs: each worker has one of its own.
  REQUIRE(plan.placement.vhost.size() == 8);
  CHECK(plan.placement.vhost.front().to_string() == "38");
  CHECK(plan.placement.vhost.back().to_string() == "37");
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
  CHECK(plan.placement.vhost == std::vector<CpuSet>{plan.placement.emulator});
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

TEST_CASE("a device's node wins over one with more isolated CPUs, when it holds the VM") {
  HostFacts facts = recorded_facts("two-socket-72cpu");
  for (PciDeviceFacts& device : facts.pci) device.numa_node = 1;
  const std::string config =
      R"({"name": "r", "profile": "nfv", "cpu": {"vcpus": 8}, "memory": {"size": "8GiB"},
          "nics": [{"id": "net0", "type": "vf", "pf": "eno2"}]})";
  const Plan plan = plan_of(config, facts);
  CHECK(problems_of(plan).empty());
  CHECK(plan.placement.node == 1);
  CHECK(vcpus(plan) == "18 19 20 21 22 23 24 25");
  CHECK(plan.placement.emulator.to_string() == "54-61");
  CHECK(mentions(plan.placement.passed_over, "node 0 (no VF of eno2)"));
  CHECK(mentions(plan.placement.reasons, "CPUs 18-25 are not isolated"));
}

TEST_CASE("a device's node that lacks the pages is passed over, and the plan warns") {
  HostFacts facts = recorded_facts("two-socket-72cpu");
  for (HugepagePool& pool : facts.nodes.at(0).hugepages) pool.free = 3;
  const Plan plan = plan_of(
      R"({"name": "r", "profile": "nfv", "cpu": {"vcpus": 8}, "memory": {"size": "8GiB"},
          "nics": [{"id": "net0", "type": "vf", "pf": "eno2"}]})",
      facts);
  CHECK(problems_of(plan).empty());
  CHECK(plan.placement.node == 1);
  CHECK(mentions(plan.placement.passed_over, "node 0 (3 free 1GiB pages)"));
  bool warned = false;
  for (const Diagnostic& finding : plan.preflight) {
    warned =
        warned || (finding.severity == Severity::kWarning &&
                   finding.message.find("is on node 0, the VM on node 1") != std::string::npos);
  }
  CHECK(warned);
}

TEST_CASE("vCPUs lie in one last-level cache, the smallest that is large enough") {
  const auto place = [](int count, const HostFacts& facts, const std::vector<Lease>& others) {
    return vcpus(plan_of(fmt::format(R"({{"name": "r", "memory": {{"size": "1GiB", "node": 0}},
        "cpu": {{"vcpus": {}, "pin": "auto", "smt": "isolate", "exclusive": true}}}})",
                                     count),
                         facts, others));
  };
  const HostFacts facts = recorded_facts("two-socket-512cpu");
  CHECK(place(8, facts, {}) == "8 9 10 11 12 13 14 15");
  Lease other;
  other.vm = "other";
  other.exclusive_cpus = CpuSet::parse("8-11,264-267,16-17,272-273");
  CHECK(place(8, facts, {other}) == "24 25 26 27 28 29 30 31");  // whole and free
  CHECK(place(4, facts, {other}) == "12 13 14 15");              // what is left of the first
  CHECK(place(6, facts, {other}) == "18 19 20 21 22 23");
  // Two caches are needed: the largest first, then the rest where it fits best.
  CHECK(place(12, facts, {other}) == "12 13 14 15 24 25 26 27 28 29 30 31");
}

TEST_CASE("a VM larger than any node mirrors the host's nodes") {
  const Plan plan = plan_of(R"({"name": "w", "profile": "nfv", "cpu": {"vcpus": 24},
                                "memory": {"size": "36GiB"}})",
                            recorded_facts("two-socket-72cpu"));
  CHECK(problems_of(plan).empty());
  const std::vector<GuestCell>& cells = plan.placement.cells;
  REQUIRE(cells.size() == 2);
  CHECK(cells[0].vcpus.to_string() == "0-11");
  CHECK(cells[1].vcpus.to_string() == "12-23");
  CHECK(to_string(cells[0].memory) == "18GiB");
  CHECK(cells[0].memory_node() == 0);
  CHECK(cells[1].memory_node() == 1);
  CHECK(cells[0].distances == std::vector<int>{10, 21});
  const HostFacts facts = recorded_facts("two-socket-72cpu");
  for (int i = 0; i < 24; ++i) {
    const CpuSet& cpus = plan.placement.vcpus.at(static_cast<std::size_t>(i));
    REQUIRE(cpus.size() == 1);
    CHECK(facts.find_node(i < 12 ? 0 : 1)->cpus.includes(cpus));
  }
  const auto argv = plan.argv();
  CHECK(mentions(argv, "node,nodeid=0,cpus=0-11,memdev=vmrig-mem0"));
  CHECK(mentions(argv, "node,nodeid=1,cpus=12-23,memdev=vmrig-mem1"));
  CHECK(mentions(argv, "dist,src=0,dst=1,val=21"));
  CHECK(mentions(argv, "sockets=2,cores=12,threads=1"));
}

TEST_CASE("a VM that only finds every node taken is not spread, but told who has them") {
  Lease other;
  other.vm = "greedy";
  other.exclusive_cpus = CpuSet::parse("1-14,37-50,18-32,54-68");
  const Plan plan = plan_of(kRouter, recorded_facts("two-socket-72cpu"), {other});
  CHECK(plan.placement.cells.empty());
  CHECK(has(problems_of(plan), "6 cpu.pin: 8 whole cores are needed"));
  CHECK(has(problems_of(plan), "held by VM \"greedy\""));
}

TEST_CASE("guest nodes by hand lie on their host nodes, and a PCI root takes the near device") {
  const Plan plan = plan_of(
      R"({"name": "n", "cpu": {"vcpus": 4, "pin": "auto", "emulator": "auto"},
          "memory": {"size": "3GiB", "node": "auto"},
          "numa": [{"vcpus": "0,2", "memory": "1GiB", "node": 1},
                   {"vcpus": "1,3", "memory": "2GiB", "pxb": true}],
          "nics": [{"id": "net0", "type": "vf", "pf": "eno2"}]})",
      recorded_facts("two-socket-72cpu"));
  CHECK(problems_of(plan).empty());
  REQUIRE(plan.placement.cells.size() == 2);
  CHECK(plan.placement.cells[0].memory_node() == 1);
  CHECK(plan.placement.cells[1].memory_node() == 0);
  CHECK(plan.placement.vcpus[0].to_string() == "18");
  CHECK(plan.placement.vcpus[2].to_string() == "19");
  CHECK(plan.placement.vcpus[1].to_string() == "1");
  const auto argv = plan.argv();
  CHECK(mentions(argv, "node,nodeid=0,cpus=0,cpus=2,memdev=vmrig-mem0"));
  CHECK(mentions(argv, R"("driver":"pxb-pcie")"));
  CHECK(mentions(argv, R"("bus":"vmrig-pxb0-port0")"));
}

TEST_CASE(
    "one that shares its CPUs keeps from those of an exclusive VM, and comes last to others") {
  Lease shares;
  shares.vm = "shares";
  shares.shared_cpus = CpuSet::parse("2-7");
  const HostFacts facts = recorded_facts("isolated-1gib");
  const auto plan = [&](const char* exclusive) {
    return plan_of(fmt::format(R"({{"name": "b", "memory": {{"size": "1GiB"}},
        "cpu": {{"vcpus": 9, "pin": "auto", "exclusive": {}}}}})",
                               exclusive),
                   facts, {shares});
  };
  CHECK(vcpus(plan("false")) == "2 8 9 10 11 12 13 14 15");
  CHECK(vcpus(plan("true")) == "1 8 9 10 11 12 13 14 15");
  const std::string text = problems_of(plan_of(
      R"({"name": "b", "memory": {"size": "1GiB"}, "cpu": {"pin": ["3"], "exclusive": true}})",
      facts, {shares}));
  CHECK(has(text, "6 cpu.pin[0]: CPU 3 is held by VM \"shares\""));
}

namespace {

// A machine and a wish that follow from the seed alone.
struct Chance {
  std::mt19937 random;
  int pick(int low, int high) {
    return static_cast<int>(random() % static_cast<unsigned>(high - low + 1)) + low;
  }
};

HostFacts random_host(Chance& chance) {
  HostFacts facts = recorded_facts("vm-2cpu");
  facts.cpus.clear();
  facts.nodes.clear();
  facts.pci.clear();
  facts.allowed = facts.isolated = facts.present = facts.allowed_nodes = CpuSet{};
  const int nodes = chance.pick(1, 4);
  const int cores = chance.pick(1, 12);
  const int threads = chance.pick(1, 2);
  const int cores_a_cache = chance.pick(1, cores);
  for (int n = 0; n < nodes; ++n) {
    NumaNode node;
    node.id = n;
    node.memory_total = Bytes::gib(16);
    node.memory_free = Bytes::gib(static_cast<std::uint64_t>(chance.pick(1, 16)));
    HugepagePool pool;
    pool.page_size = Bytes::mib(2);
    pool.total = 4096;
    pool.free = static_cast<std::uint64_t>(chance.pick(0, 4096));
    node.hugepages.push_back(pool);
    for (int other = 0; other < nodes; ++other) node.distances[other] = other == n ? 10 : 20;
    if (n == 0 || chance.pick(0, 9) > 0) facts.allowed_nodes.insert(n);
    for (int c = 0; c < cores; ++c) {
      for (int t = 0; t < threads; ++t) {
        const int core = n * cores + c;
        const int id = core + t * nodes * cores;
        const int l3 = n * cores + c / cores_a_cache;
        facts.cpus.push_back({.id = id, .core = core, .package = n, .node = n, .l3 = l3});
        node.cpus.insert(id);
        facts.present.insert(id);
        if (chance.pick(0, 9) > 0) facts.allowed.insert(id);
        if (chance.pick(0, 2) == 0) facts.isolated.insert(id);
      }
    }
    facts.nodes.push_back(node);
  }
  facts.hugetlbfs = {{"/dev/hugepages", Bytes::mib(2)}};
  std::sort(facts.cpus.begin(), facts.cpus.end(),
            [](const CpuFacts& a, const CpuFacts& b) { return a.id < b.id; });
  return facts;
}

// How many vCPUs a node could take, told without the planner's own code.
std::size_t room_on(const HostFacts& facts, const NumaNode& node, const CpuSet& free,
                    bool whole_cores) {
  const CpuSet here = free & node.cpus;
  if (!whole_cores) return here.size();
  std::set<int> cores;
  for (const int cpu : here.cpus()) {
    if (here.includes(facts.siblings(cpu))) cores.insert(facts.find_cpu(cpu)->core);
  }
  return cores.size();
}

}  // namespace

TEST_CASE("placement never breaks its rules on 200 random machines and wishes") {
  int good = 0;
  int spread = 0;
  for (unsigned round = 0; round < 200; ++round) {
    CAPTURE(round);
    Chance chance{std::mt19937(20260101 + round)};  // a failure can be repeated
    const HostFacts facts = random_host(chance);
    Lease other;
    other.vm = "other";
    const bool is_alone = chance.pick(0, 1) == 0;
    for (const int cpu : facts.present.cpus()) {
      if (!is_alone && chance.pick(0, 4) == 0) other.exclusive_cpus.insert(cpu);
    }
    const char* policies[] = {"use", "emulator", "isolate"};
    const int policy = chance.pick(0, 2);
    const auto count = static_cast<std::size_t>(chance.pick(1, 16));
    const int gib = chance.pick(1, 12);
    const bool huge = chance.pick(0, 1) == 1;
    const std::string config = fmt::format(
        R"({{"name": "x", "memory": {{"size": "{}GiB", "node": "auto", "hugepages": "{}"}},
            "cpu": {{"vcpus": {}, "pin": "auto", "emulator": "auto", "smt": "{}",
                     "exclusive": true}}}})",
        gib, huge ? "2MiB" : "none", count, policies[policy]);
    const Plan plan = plan_of(config, facts, {other});
    const Plan again = plan_of(config, facts, {other});
    CHECK(plan.argv() == again.argv());
    CHECK(vcpus(plan) == vcpus(again));
    CHECK(plan.placement.emulator == again.placement.emulator);

    // Whether one node holds all of it.
    const CpuSet free = facts.allowed - other.exclusive_cpus;
    bool one_fits = false;
    for (const NumaNode& node : facts.nodes) {
      if (!facts.allowed_nodes.contains(node.id)) continue;
      const std::size_t room = room_on(facts, node, free, policy != 0);
      const bool memory = huge
                              ? node.hugepages.front().free >= static_cast<std::uint64_t>(gib) * 512
                              : node.memory_free >= Bytes::gib(static_cast<std::uint64_t>(gib));
      // With a CPU more than the vCPUs need there is one for the emulator in any case.
      one_fits = one_fits || (memory && room > count);
    }
    if (one_fits) CHECK(problems_of(plan).empty());
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
    CHECK(((taken | plan.claim.exclusive_cpus) & other.exclusive_cpus).empty());
    if (policy != 0) {
      std::set<int> cores;
      for (const int cpu : taken.cpus()) cores.insert(facts.find_cpu(cpu)->core);
      CHECK(cores.size() == count);
    }
    const std::vector<GuestCell>& cells = plan.placement.cells;
    if (one_fits) CHECK(cells.empty());
    if (cells.empty()) {
      REQUIRE(plan.placement.node.has_value());
      CHECK(facts.allowed_nodes.contains(*plan.placement.node));
      CHECK(facts.find_node(*plan.placement.node)->cpus.includes(taken));
      continue;
    }
    ++spread;
    Bytes memory;
    CpuSet in_cells;
    for (const GuestCell& cell : cells) {
      REQUIRE(cell.memory_node().has_value());
      memory = memory + cell.memory;
      CHECK((in_cells & cell.vcpus).empty());
      in_cells = in_cells | cell.vcpus;
      for (const int vcpu : cell.vcpus.cpus()) {
        CHECK(facts.find_node(*cell.node)
                  ->cpus.includes(plan.placement.vcpus.at(static_cast<std::size_t>(vcpu))));
      }
    }
    CHECK(memory == Bytes::gib(static_cast<std::uint64_t>(gib)));
    CHECK(in_cells.size() == count);
  }
  CHECK(good > 60);
  CHECK(spread > 3);
}
