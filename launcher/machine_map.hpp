// The host's nodes, caches, cores and threads, and who sits on them. Plain data.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hostcfg/base/json.hpp"
#include "hostcfg/facts.hpp"
#include "launcher/leases.hpp"
#include "launcher/plan.hpp"

namespace vmrig {

// What has a CPU, in the order in which it is told where several have it.
enum class SeatRole { kVcpu, kIothread, kVhost, kEmulator, kIdle, kHeld, kShared };
std::string_view seat_role_name(SeatRole role);  // "vcpu", "iothread", "vhost", …

// Of a thread's role in state.json; nullopt for another name.
std::optional<SeatRole> seat_role_of(std::string_view name);

struct Seat {
  std::string vm;
  SeatRole role = SeatRole::kHeld;
  std::string id;  // a vCPU's index, an iothread's id; else empty
};

struct CpuSeats {
  int cpu = 0;
  bool allowed = true;
  bool isolated = false;
  bool housekeeping = false;  // CPU 0 and its siblings
  std::vector<Seat> seats;    // empty: free
};

struct MapCore {
  std::vector<CpuSeats> threads;
};
struct MapCache {
  int l3 = -1;  // -1: not told
  std::vector<MapCore> cores;
};
struct MapNode {
  int id = 0;
  std::vector<MapCache> caches;
};

struct MachineMap {
  std::vector<MapNode> nodes;
};

using SeatsByCpu = std::map<int, std::vector<Seat>>;

// Adds a seat on each of the CPUs.
void add_seats(SeatsByCpu& seats, const CpuSet& cpus, const Seat& seat);
// Where the threads of a planned VM will be, and what it keeps idle.
SeatsByCpu seats_of(const Plan& plan);
// What a lease tells of another VM: that it holds CPUs for itself, or shares them.
void add_seats(SeatsByCpu& seats, const Lease& lease);

// Nodes, caches and cores in the host's order. CPUs of which the host tells no node are on the
// first.
MachineMap map_machine(const HostFacts& facts, const SeatsByCpu& seats);

Json to_json(const MachineMap& map);

}  // namespace vmrig
