// Where the plan takes guest memory from: regions, claims, pages to reserve, mounts.
#include <doctest/doctest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "launcher/memory_plan.hpp"
#include "launcher/page_plan.hpp"
#include "launcher/show_plan.hpp"
#include "tests/support/plan_inputs.hpp"

using namespace vmrig;
using namespace vmrig::testing;

namespace {

bool has(const std::string& text, const std::string& part) {
  const bool found = text.find(part) != std::string::npos;
  if (!found) MESSAGE("missing: " << part << "\nin: " << text);
  return found;
}

std::string config_with(const std::string& memory) {
  return R"({"name": "m", "memory": {"hugepages": "1GiB", "prealloc": true, )" + memory + "}}";
}

Json backend_of(const Plan& plan, const std::string& id) {
  for (const QemuArgument& argument : plan.arguments) {
    if (argument.words.front() != "-object" || !argument.words[1].starts_with('{')) continue;
    const Json object = Json::parse(argument.words[1]);
    if (object.at("id") == id) return object;
  }
  return nullptr;
}

std::string steps_of(const Plan& plan) {
  std::string text;
  for (const HostStep& step : plan.host_steps) {
    text += std::string(action_kind(step.action)) + " " + step.text + " | " + step.undo + "\n";
  }
  return text;
}

Lease holder_of(int node, std::uint64_t pages, std::uint64_t reserved = 0) {
  Lease lease;
  lease.vm = "other";
  lease.pages = {{.node = node, .page_size = Bytes::gib(1), .pages = pages, .reserved = reserved}};
  return lease;
}

}  // namespace

TEST_CASE("hugepages that are preallocated are a region, whose file QEMU inherits and shares") {
  const Plan plan =
      plan_of(config_with(R"("size": "8GiB", "node": 1)"), recorded_facts("two-socket-72cpu"));
  CHECK(problems_of(plan).empty());
  REQUIRE(plan.regions.size() == 1);
  const MemoryRegion& region = plan.regions.front();
  CHECK(region.name == "vmrig-mem0");
  CHECK(region.size == Bytes::gib(8));
  CHECK(region.page_size == Bytes::gib(1));
  CHECK(region.policy == MemoryPolicy::kBind);
  CHECK(region.nodes == CpuSet{1});
  CHECK(region.mount == "/dev/hugepages");
  CHECK(region.cpus.to_string() == "18-33");  // of node 1, 16 of them
  REQUIRE(plan.fds.front().source == FdSource{FdSource::Kind::kMemory, "vmrig-mem0"});
  const Json backend = backend_of(plan, "vmrig-mem0");
  CHECK(backend.at("mem-path") == "/proc/self/fd/" + std::to_string(plan.fds.front().number));
  CHECK(backend.at("share") == true);
  CHECK(backend.at("host-nodes") == Json({1}));
  CHECK(plan.claim.pages ==
        std::vector<PageClaim>{{.node = 1, .page_size = Bytes::gib(1), .pages = 8}});
  CHECK(plan.host_steps.empty());
}

TEST_CASE("a memfd needs no mount, and pages that come later no region") {
  const HostFacts facts = recorded_facts("two-socket-72cpu");
  const Plan memfd = plan_of(config_with(R"("size": "8GiB", "backing": "memfd")"), facts);
  CHECK(memfd.regions.at(0).mount.empty());
  CHECK(memfd.regions.at(0).nodes.empty());
  CHECK(memfd.claim.pages.at(0).node == -1);
  const Plan later =
      plan_of(R"({"name": "m", "memory": {"size": "8GiB", "hugepages": "1GiB"}})", facts);
  CHECK(later.regions.empty());
  // Where QEMU's user could make no file.
  CHECK(backend_of(later, "vmrig-mem0").at("qom-type") == "memory-backend-memfd");
  CHECK(backend_of(later, "vmrig-mem0").at("hugetlbsize") == Bytes::gib(1).value);
  HostFacts user = facts;
  user.user_id = 1000;
  const Plan users =
      plan_of(R"({"name": "m", "memory": {"size": "8GiB", "hugepages": "1GiB"}})", user);
  CHECK(backend_of(users, "vmrig-mem0").at("mem-path") == "/dev/hugepages");
  CHECK(later.claim.pages.size() == 1);
  const Plan ordinary = plan_of(R"({"name": "m", "memory": {"size": "8GiB"}})", facts);
  CHECK(ordinary.regions.empty());
  CHECK(ordinary.claim.pages.empty());
}

TEST_CASE("memory is populated on the VM's own CPUs and those of nobody") {
  const HostFacts facts = recorded_facts("two-socket-72cpu");
  Lease other;
  other.vm = "other";
  other.exclusive_cpus = CpuSet::parse("1-4,9-12");
  const Plan plan = plan_of(
      R"({"name": "m", "profile": "nfv", "cpu": {"vcpus": 2}, "memory": {"size": "8GiB", "node": 0}})",
      facts, {other});
  CHECK(problems_of(plan).empty());
  const CpuSet cpus = plan.regions.at(0).cpus;
  CHECK((cpus & other.exclusive_cpus).empty());
  for (const CpuSet& vcpu : plan.placement.vcpus) CHECK(cpus.includes(vcpu));
  // Isolated CPUs that are not its own are left alone.
  CHECK((cpus & (facts.isolated - plan.claim.exclusive_cpus)).empty());
  CHECK(cpus.size() == 16);
}

TEST_CASE("interleave takes the pages of each node in turn, preferred those of any") {
  const HostFacts facts = recorded_facts("two-socket-72cpu");
  const Plan wide =
      plan_of(config_with(R"("size": "9GiB", "policy": "interleave", "node": "auto")"), facts);
  CHECK(problems_of(wide).empty());
  CHECK(wide.regions.at(0).nodes.to_string() == "0-1");
  CHECK(wide.claim.pages.at(0).pages == 5);
  CHECK(wide.claim.pages.at(1).pages == 4);
  CHECK_FALSE(wide.placement.node);
  CHECK(backend_of(wide, "vmrig-mem0").at("policy") == "interleave");
  CHECK(backend_of(wide, "vmrig-mem0").at("host-nodes") == Json({0, 1}));
  CHECK(has(show_plan(wide, {}), "interleaved over nodes 0-1"));

  const Plan first =
      plan_of(config_with(R"("size": "40GiB", "policy": "preferred", "node": 1)"), facts);
  CHECK(problems_of(first).empty());  // 32 there, 8 elsewhere
  CHECK(first.claim.pages.at(0).node == -1);
  CHECK(first.regions.at(0).policy == MemoryPolicy::kPreferred);
  CHECK_FALSE(backend_of(first, "vmrig-mem0").contains("policy"));
  CHECK(has(show_plan(first, {}), "preferred from node 1"));
}

TEST_CASE("pages that another VM is about to take are busy, and it is named") {
  const HostFacts facts = recorded_facts("two-socket-72cpu");
  const std::string config = config_with(R"("size": "8GiB", "node": 0)");
  CHECK(problems_of(plan_of(config, facts, {holder_of(0, 22)})).empty());
  CHECK(has(problems_of(plan_of(config, facts, {holder_of(0, 23)})),
            "6 memory.hugepages: node 0 has 30 free 1GiB pages, of which VM \"other\" has claimed "
            "23, 8 are needed | vmrig stop other"));
  // Of a claim on any node, any may fall on this one.
  CHECK(has(problems_of(plan_of(config, facts, {holder_of(-1, 55)})), "6 memory.hugepages"));
  CHECK(problems_of(plan_of(config, facts, {holder_of(1, 32)})).empty());
  // What it adds itself is not taken from what is there.
  CHECK(problems_of(plan_of(config, facts, {holder_of(0, 30, 10)})).empty());
  // Without the pages it is no matter of who holds them.
  HostFacts poor = facts;
  for (HugepagePool& pool : poor.nodes.at(0).hugepages) pool.free = 3;
  CHECK(has(problems_of(plan_of(config, poor, {holder_of(0, 2)})), "3 memory.hugepages"));
}

TEST_CASE("missing pages are reserved when asked, and as many given back") {
  HostFacts facts = recorded_facts("two-socket-72cpu");
  for (HugepagePool& pool : facts.nodes.at(0).hugepages) pool.free = 3;
  const std::string config = config_with(R"("size": "8GiB", "node": 0, "reserve": true)");
  const Plan plan = plan_of(config, facts);
  CHECK(problems_of(plan).empty());
  CHECK(steps_of(plan) == "reserve 5 x 1GiB on node 0 | give 5 back\n");
  CHECK(plan.claim.pages.at(0).reserved == 5);
  // Pages that others have claimed are not there for it.
  CHECK(steps_of(plan_of(config, facts, {holder_of(0, 2)})) ==
        "reserve 7 x 1GiB on node 0 | give 7 back\n");
  facts.user_id = 1000;
  CHECK(has(problems_of(plan_of(config, facts)), "3 memory.reserve: only root"));
  facts.user_id = 0;
  facts.nodes.at(0).memory_total = Bytes::gib(4);
  CHECK(has(problems_of(plan_of(config, facts)), "5GiB more are wanted of node 0"));
}

TEST_CASE("a hugetlbfs is mounted where there is none of that size") {
  HostFacts facts = recorded_facts("two-socket-72cpu");
  facts.hugetlbfs.clear();
  const std::string config = config_with(R"("size": "8GiB")");
  const Plan plan = plan_of(config, facts);
  CHECK(problems_of(plan).empty());
  CHECK(steps_of(plan) ==
        "mount 1GiB pages on /run/vmrig/.hugetlbfs-1GiB | removed, when no VM uses it\n");
  CHECK(plan.regions.at(0).mount == "/run/vmrig/.hugetlbfs-1GiB");
  // One that vmrig has made for another VM is shared.
  facts.hugetlbfs = {{"/run/vmrig/.hugetlbfs-1GiB", Bytes::gib(1)}};
  CHECK(steps_of(plan_of(config, facts)) == steps_of(plan));
  facts.hugetlbfs.push_back({"/mnt/huge", Bytes::gib(1)});
  CHECK(plan_of(config, facts).regions.at(0).mount == "/mnt/huge");
  facts.hugetlbfs.clear();
  facts.can_sys_admin = false;
  CHECK(has(problems_of(plan_of(config, facts)), "3 memory.backing: no hugetlbfs with 1GiB pages"));
}

TEST_CASE("locking on fault takes a QEMU that can") {
  const HostFacts facts = recorded_facts("two-socket-72cpu");
  const VmConfig config =
      config_of(R"({"name": "m", "memory": {"size": "1GiB", "lock": "on-fault"}})");
  const auto plan_for = [&](const char* version) {
    const qmp::QemuCaps caps = recorded_caps(version);
    return make_plan({.config = config, .facts = facts, .caps = caps, .qemu = "/q", .leases = {}});
  };
  CHECK(has(problems_of(plan_for("7.2")), "3 memory.lock: \"/q\" can't lock on fault"));
  const Plan plan = plan_for("10.0");
  CHECK(problems_of(plan).empty());
  const std::vector<std::string> words = plan.argv();
  CHECK(std::find(words.begin(), words.end(), "mem-lock=on-fault") != words.end());
}

TEST_CASE("a DIMM of hugepages is a region of its own, a virtio-mem device is none") {
  const Plan plan = plan_of(config_with(R"("size": "8GiB", "max": "32GiB", "node": 0, "devices": [
        {"id": "d", "size": "2GiB", "node": 1},
        {"id": "v", "size": "4GiB", "kind": "virtio-mem"}])"),
                            recorded_facts("two-socket-72cpu"));
  CHECK(problems_of(plan).empty());
  REQUIRE(plan.regions.size() == 2);
  CHECK(plan.regions[1].name == "d-mem");
  CHECK(plan.regions[1].nodes == CpuSet{1});
  CHECK(plan.claim.pages.size() == 2);
}

TEST_CASE("each guest node has a region on its own host node, and interleave is no spreading") {
  const HostFacts facts = recorded_facts("two-socket-72cpu");
  const std::string cells = R"(, "numa": [{"vcpus": "0", "memory": "5GiB", "node": 0},
                                          {"vcpus": "1", "memory": "3GiB", "node": 1}])";
  const Plan plan = plan_of(R"({"name": "m", "cpu": {"vcpus": 2}, "memory": {"size": "8GiB",
      "hugepages": "1GiB", "prealloc": true})" +
                                cells + "}",
                            facts);
  CHECK(problems_of(plan).empty());
  REQUIRE(plan.regions.size() == 2);
  CHECK(plan.regions[0].nodes == CpuSet{0});
  CHECK(plan.regions[0].size == Bytes::gib(5));
  CHECK(plan.regions[1].nodes == CpuSet{1});
  CHECK(plan.claim.pages.at(1).pages == 3);
  const Plan wide = plan_of(
      R"({"name": "m", "profile": "nfv", "cpu": {"vcpus": 8},
          "memory": {"size": "60GiB", "policy": "interleave"}})",
      facts);
  CHECK(problems_of(wide).empty());
  CHECK(wide.placement.cells.empty());
  CHECK(wide.regions.size() == 1);
  CHECK(wide.claim.pages.at(0).pages == 30);
}

TEST_CASE("a node whose pool can be made large enough is no smaller for a VM that reserves") {
  HostFacts facts = recorded_facts("two-socket-72cpu");
  for (NumaNode& node : facts.nodes) {
    for (HugepagePool& pool : node.hugepages) pool.total = pool.free = 0;
  }
  const Plan plan = plan_of(
      R"({"name": "m", "profile": "nfv", "cpu": {"vcpus": 4},
          "memory": {"size": "16GiB", "reserve": true}})",
      facts);
  CHECK(problems_of(plan).empty());
  CHECK(plan.placement.cells.empty());
  CHECK(steps_of(plan) == "reserve 16 x 1GiB on node 0 | give 16 back\n");
}
