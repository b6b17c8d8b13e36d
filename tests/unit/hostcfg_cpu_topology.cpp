// Cores, packages and caches by the kernel's tables, against hwloc's discovery of the same tables.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <hwloc.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "hostcfg/cpu_topology.hpp"
#include "hostcfg_support.hpp"

using namespace vmrig;
using vmrig::test::FakeRoot;

namespace {

// A CPU in a machine of the test's own.
struct Seat {
  int package = 0;
  int l3 = 0;  // -1: none
  int core = 0;
};

// As hwloc wants it: "00000000,0000000f".
std::string mask_of(const CpuSet& cpus, int count) {
  std::string text;
  for (int word = (count + 31) / 32 - 1; word >= 0; --word) {
    std::uint32_t bits = 0;
    for (int bit = 0; bit < 32; ++bit) {
      if (cpus.contains(word * 32 + bit)) bits |= std::uint32_t{1} << bit;
    }
    text += fmt::format("{}{:08x}", text.empty() ? "" : ",", bits);
  }
  return text;
}

struct Machine {
  FakeRoot root;

  // `seats` by CPU; those of `offline` are there, and off.
  explicit Machine(const std::vector<Seat>& seats, const CpuSet& offline = {}) {
    const int count = static_cast<int>(seats.size());
    CpuSet online;
    for (int cpu = 0; cpu < count; ++cpu) {
      if (!offline.contains(cpu)) online.insert(cpu);
    }
    const std::string folder = "sys/devices/system/cpu/";
    root.write(folder + "online", online.to_string() + "\n");
    root.write(folder + "possible", fmt::format("0-{}\n", count - 1));
    root.write(folder + "present", fmt::format("0-{}\n", count - 1));
    const auto sharing = [&](int cpu, const std::function<bool(const Seat&, const Seat&)>& alike) {
      CpuSet set;
      for (int other : online.cpus()) {
        if (alike(seats[static_cast<std::size_t>(cpu)], seats[static_cast<std::size_t>(other)])) {
          set.insert(other);
        }
      }
      return set;
    };
    for (int cpu = 0; cpu < count; ++cpu) {
      const Seat& seat = seats[static_cast<std::size_t>(cpu)];
      const std::string own = fmt::format("{}cpu{}/", folder, cpu);
      root.write(own + "online", offline.contains(cpu) ? "0\n" : "1\n");
      if (offline.contains(cpu)) continue;
      const CpuSet core = sharing(cpu, [](const Seat& a, const Seat& b) {
        return a.package == b.package && a.core == b.core;
      });
      const CpuSet package =
          sharing(cpu, [](const Seat& a, const Seat& b) { return a.package == b.package; });
      write_set(own + "topology/core_cpus", core, count);
      write_set(own + "topology/thread_siblings", core, count);
      write_set(own + "topology/package_cpus", package, count);
      write_set(own + "topology/core_siblings", package, count);
      root.write(own + "topology/core_id", fmt::format("{}\n", seat.core));
      root.write(own + "topology/physical_package_id", fmt::format("{}\n", seat.package));
      write_cache(own, 0, 1, "Data", core, count);
      write_cache(own, 1, 1, "Instruction", core, count);
      write_cache(own, 2, 2, "Unified", core, count);
      if (seat.l3 < 0) continue;
      const CpuSet l3 = sharing(
          cpu, [](const Seat& a, const Seat& b) { return a.package == b.package && a.l3 == b.l3; });
      write_cache(own, 3, 3, "Unified", l3, count);
    }
  }

  void write_set(const std::string& name, const CpuSet& cpus, int count) {
    root.write(name, mask_of(cpus, count) + "\n");
    root.write(name + "_list", cpus.to_string() + "\n");
  }

  void write_cache(const std::string& own, int index, int level, const char* type,
                   const CpuSet& cpus, int count) {
    const std::string cache = fmt::format("{}cache/index{}/", own, index);
    root.write(cache + "level", fmt::format("{}\n", level));
    root.write(cache + "type", std::string(type) + "\n");
    root.write(cache + "size", "1024K\n");
    root.write(cache + "shared_cpu_map", mask_of(cpus, count) + "\n");
    root.write(cache + "shared_cpu_list", cpus.to_string() + "\n");
  }

  FolderReader opened() const { return *FolderReader::open(root.path()); }
};

// By hwloc itself, with the levels that vmrig asks for.
std::map<int, std::vector<int>> by_hwloc(const Machine& machine) {
  REQUIRE(::setenv("HWLOC_FSROOT", machine.root.path().c_str(), 1) == 0);
  hwloc_topology_t topology = nullptr;
  REQUIRE(hwloc_topology_init(&topology) == 0);
  hwloc_topology_set_components(topology, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, "x86");
  hwloc_topology_set_flags(topology, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED);
  hwloc_topology_set_all_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_NONE);
  const std::vector<hwloc_obj_type_t> types = {HWLOC_OBJ_CORE, HWLOC_OBJ_PACKAGE,
                                               HWLOC_OBJ_L3CACHE};
  for (const hwloc_obj_type_t type : types) {
    hwloc_topology_set_type_filter(topology, type, HWLOC_TYPE_FILTER_KEEP_ALL);
  }
  REQUIRE(hwloc_topology_load(topology) == 0);
  std::map<int, std::vector<int>> seats;
  hwloc_obj_t unit = nullptr;
  while ((unit = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_PU, unit)) != nullptr) {
    for (const hwloc_obj_type_t type : types) {
      const hwloc_obj_t above = hwloc_get_ancestor_obj_by_type(topology, type, unit);
      seats[static_cast<int>(unit->os_index)].push_back(
          above == nullptr ? -1 : static_cast<int>(above->logical_index));
    }
  }
  hwloc_topology_destroy(topology);
  ::unsetenv("HWLOC_FSROOT");
  return seats;
}

std::map<int, std::vector<int>> by_tables(const Machine& machine) {
  const auto cpus = read_cpu_topology(machine.opened());
  REQUIRE(cpus);
  std::map<int, std::vector<int>> seats;
  for (const CpuFacts& cpu : *cpus) seats[cpu.id] = {cpu.core, cpu.package, cpu.l3};
  return seats;
}

// Linux numbers the first threads of all cores, then the second ones.
std::vector<Seat> server(int packages, int cores, int threads, int cores_per_l3) {
  std::vector<Seat> seats;
  for (int thread = 0; thread < threads; ++thread) {
    for (int package = 0; package < packages; ++package) {
      for (int core = 0; core < cores; ++core) {
        seats.push_back({.package = package, .l3 = core / cores_per_l3, .core = core});
      }
    }
  }
  return seats;
}

TEST_CASE("ordinary machines are numbered as hwloc numbers them") {
  for (const auto& seats : {server(1, 1, 1, 1), server(1, 4, 2, 4), server(2, 4, 2, 4),
                            server(2, 8, 2, 4), server(4, 2, 1, 1)}) {
    const Machine machine(seats);
    CHECK(by_tables(machine) == by_hwloc(machine));
  }
}

TEST_CASE("CPUs that are numbered across packages and caches are sorted as hwloc sorts them") {
  // Packages take turns, and so do the caches in each.
  std::vector<Seat> seats;
  for (int cpu = 0; cpu < 32; ++cpu) {
    seats.push_back({.package = cpu % 2, .l3 = cpu / 2 % 2, .core = cpu / 2 % 8});
  }
  const Machine machine(seats);
  CHECK(by_tables(machine) == by_hwloc(machine));
}

TEST_CASE("CPUs that are off, and those without a last-level cache, are no trouble") {
  const Machine with_holes(server(2, 4, 2, 2), CpuSet{0, 5, 9});
  CHECK(by_tables(with_holes) == by_hwloc(with_holes));
  std::vector<Seat> hybrid = server(1, 6, 1, 3);
  hybrid[4].l3 = -1;
  hybrid[5].l3 = -1;
  CHECK(by_tables(Machine(hybrid)) == by_hwloc(Machine(hybrid)));
  std::vector<Seat> guest = server(1, 4, 2, 4);
  for (Seat& seat : guest) seat.l3 = -1;
  CHECK(by_tables(Machine(guest)) == by_hwloc(Machine(guest)));
}

TEST_CASE("an old kernel's names of the tables do") {
  const Machine machine(server(2, 2, 2, 2));
  const auto expected = by_tables(machine);
  for (int cpu = 0; cpu < 8; ++cpu) {
    for (const char* table : {"core_cpus", "core_cpus_list", "package_cpus", "package_cpus_list"}) {
      std::filesystem::remove(machine.root /
                              fmt::format("sys/devices/system/cpu/cpu{}/topology/{}", cpu, table));
    }
  }
  CHECK(by_tables(machine) == expected);
}

TEST_CASE("tables that are missing or contradict each other are left to hwloc") {
  CHECK_FALSE(read_cpu_topology(*FolderReader::open(FakeRoot().path())));
  const std::string core = "sys/devices/system/cpu/cpu{}/topology/core_cpus_list";
  const struct {
    int cpu;
    const char* says;
  } contradictions[] = {{1, "0-1\n"}, {1, "1,4\n"}, {2, "1-2\n"},
                        {2, "3\n"},   {2, "\n"},    {2, "x\n"}};
  for (const auto& one : contradictions) {
    Machine machine(server(1, 4, 2, 4));
    machine.root.write(fmt::format(fmt::runtime(core), one.cpu), one.says);
    // The old name of the same table may tell what the new one does not.
    std::filesystem::remove(
        machine.root /
        fmt::format("sys/devices/system/cpu/cpu{}/topology/thread_siblings_list", one.cpu));
    CHECK_FALSE_MESSAGE(read_cpu_topology(machine.opened()), one.says);
  }
  Machine machine(server(1, 4, 2, 4));
  std::filesystem::remove_all(machine.root / "sys/devices/system/cpu/cpu3/topology");
  CHECK_FALSE(read_cpu_topology(machine.opened()));
}

}  // namespace
