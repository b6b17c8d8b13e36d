// The map of a machine with who sits where.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "launcher/machine_map.hpp"
#include "launcher/show_machine_map.hpp"
#include "tests/support/plan_inputs.hpp"

using namespace vmrig;
using namespace vmrig::testing;

TEST_CASE("a plan's map shows its caches core by core and the others in a line") {
  const HostFacts facts = recorded_facts("two-socket-72cpu");
  const Plan plan = plan_of(
      R"({"name": "r", "profile": "nfv", "cpu": {"vcpus": 3}, "memory": {"size": "8GiB"}})", facts);
  SeatsByCpu seats = seats_of(plan);
  Lease other;
  other.vm = "other\n";
  other.exclusive_cpus = CpuSet::parse("8,44,20");
  add_seats(seats, other);
  CHECK(show_machine_map(map_machine(facts, seats), {.columns = 80, .vm = "r"}) ==
        "machine        h housekeeping, v vCPU, e emulator, : isolated and free, . free,\n"
        "               A \"other\\n\"\n"
        "  node 0        0 h    1 v0   2 v1   3 v2   4 :    5 :    6 :    7 :    8 A\n"
        "               36 h   37 e   38 e   39 e   40 :   41 :   42 :   43 :   44 A\n"
        "                9 .   10 .   11 .   12 .   13 .   14 .   15 .   16 .   17 .\n"
        "               45 .   46 .   47 .   48 .   49 .   50 .   51 .   52 .   53 .\n"
        "  node 1       CPUs 18-35,54-71: 35 free, 1 with \"other\\n\"\n");
}

TEST_CASE("the map as JSON names every CPU's VM, role and id") {
  const HostFacts facts = recorded_facts("vm-2cpu");
  SeatsByCpu seats;
  add_seats(seats, CpuSet::parse("1"), {"a", SeatRole::kEmulator, {}});
  add_seats(seats, CpuSet::parse("1"), {"a", SeatRole::kVcpu, "0"});
  const Json map = to_json(map_machine(facts, seats));
  REQUIRE(map.size() == 1);
  const Json& cores = map[0]["caches"][0]["cores"];
  REQUIRE(cores.size() == 2);
  CHECK(cores[0][0]["seats"].empty());
  CHECK(cores[0][0]["housekeeping"] == true);
  CHECK(cores[1][0]["cpu"] == 1);
  CHECK(cores[1][0]["seats"] == Json::parse(R"([{"vm": "a", "role": "vcpu", "id": "0"},
                                                {"vm": "a", "role": "emulator"}])"));
}

TEST_CASE("a CPU that several VMs share says so, and one outside the cpuset too") {
  HostFacts facts = recorded_facts("vm-2cpu");
  SeatsByCpu seats;
  add_seats(seats, CpuSet::parse("1"), {"a", SeatRole::kVcpu, "0"});
  add_seats(seats, CpuSet::parse("1"), {"b", SeatRole::kVcpu, "0"});
  facts.allowed.erase(0);
  CHECK(show_machine_map(map_machine(facts, seats), {}) ==
        "machine        x outside vmrig's cpuset, v vCPU, + several VMs, A \"a\"\n"
        "  node 0       0 x     1 Av0+\n");
}
