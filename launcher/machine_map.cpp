#include "launcher/machine_map.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace vmrig {
namespace {

// The element of `list` whose member `id` is this; made at the end when there is none.
template <class T>
T& entry(std::vector<T>& list, int T::*id, int value) {
  const auto found =
      std::find_if(list.begin(), list.end(), [&](const T& item) { return item.*id == value; });
  if (found != list.end()) return *found;
  list.push_back({});
  list.back().*id = value;
  return list.back();
}

}  // namespace

std::string_view seat_role_name(SeatRole role) {
  switch (role) {
    case SeatRole::kVcpu:
      return "vcpu";
    case SeatRole::kIothread:
      return "iothread";
    case SeatRole::kVhost:
      return "vhost";
    case SeatRole::kEmulator:
      return "emulator";
    case SeatRole::kIdle:
      return "idle";
    case SeatRole::kHeld:
      return "held";
    case SeatRole::kShared:
      return "shared";
  }
  return "";
}

std::optional<SeatRole> seat_role_of(std::string_view name) {
  for (const SeatRole role :
       {SeatRole::kVcpu, SeatRole::kIothread, SeatRole::kVhost, SeatRole::kEmulator}) {
    if (seat_role_name(role) == name) return role;
  }
  return std::nullopt;
}

void add_seats(SeatsByCpu& seats, const CpuSet& cpus, const Seat& seat) {
  for (const int cpu : cpus.cpus()) seats[cpu].push_back(seat);
}

void add_seats(SeatsByCpu& seats, const Lease& lease) {
  add_seats(seats, lease.exclusive_cpus, {lease.vm, SeatRole::kHeld, {}});
  add_seats(seats, lease.shared_cpus, {lease.vm, SeatRole::kShared, {}});
}

SeatsByCpu seats_of(const Plan& plan) {
  SeatsByCpu seats;
  const ThreadPlacement& placement = plan.placement;
  const std::string& vm = plan.config.name;
  CpuSet busy = placement.emulator;
  for (std::size_t i = 0; i < placement.vcpus.size(); ++i) {
    add_seats(seats, placement.vcpus[i], {vm, SeatRole::kVcpu, std::to_string(i)});
    busy = busy | placement.vcpus[i];
  }
  for (const auto& [id, cpus] : placement.iothreads) {
    add_seats(seats, cpus, {vm, SeatRole::kIothread, id});
    busy = busy | cpus;
  }
  add_seats(seats, placement.emulator, {vm, SeatRole::kEmulator, {}});
  add_seats(seats, plan.claim.exclusive_cpus - busy, {vm, SeatRole::kIdle, {}});
  return seats;
}

MachineMap map_machine(const HostFacts& facts, const SeatsByCpu& seats) {
  MachineMap map;
  const int first_node = facts.nodes.empty() ? 0 : facts.nodes.front().id;
  const CpuSet housekeeping = facts.siblings(0);
  std::map<int, std::pair<const CpuFacts*, std::size_t>> cores;  // a core's first CPU, its place
  for (const CpuFacts& cpu : facts.cpus) {
    MapNode& node = entry(map.nodes, &MapNode::id, cpu.node < 0 ? first_node : cpu.node);
    MapCache& cache = entry(node.caches, &MapCache::l3, cpu.l3);
    CpuSeats mine{.cpu = cpu.id,
                  .allowed = facts.allowed.contains(cpu.id),
                  .isolated = facts.isolated.contains(cpu.id),
                  .housekeeping = housekeeping.contains(cpu.id),
                  .seats = {}};
    if (const auto taken = seats.find(cpu.id); taken != seats.end()) {
      mine.seats = taken->second;
      std::stable_sort(mine.seats.begin(), mine.seats.end(),
                       [](const Seat& a, const Seat& b) { return a.role < b.role; });
    }
    const auto known = cpu.core < 0 ? cores.end() : cores.find(cpu.core);
    if (known == cores.end()) {
      if (cpu.core >= 0) cores[cpu.core] = {&cpu, cache.cores.size()};
      cache.cores.push_back({{std::move(mine)}});
    } else if (known->second.first->l3 == cpu.l3 && known->second.first->node == cpu.node) {
      cache.cores[known->second.second].threads.push_back(std::move(mine));
    } else {
      cache.cores.push_back({{std::move(mine)}});  // a host that contradicts itself
    }
  }
  std::sort(map.nodes.begin(), map.nodes.end(),
            [](const MapNode& a, const MapNode& b) { return a.id < b.id; });
  return map;
}

Json to_json(const MachineMap& map) {
  Json nodes = Json::array();
  for (const MapNode& node : map.nodes) {
    Json caches = Json::array();
    for (const MapCache& cache : node.caches) {
      Json cores = Json::array();
      for (const MapCore& core : cache.cores) {
        Json threads = Json::array();
        for (const CpuSeats& cpu : core.threads) {
          Json seats = Json::array();
          for (const Seat& seat : cpu.seats) {
            Json one = {{"vm", seat.vm}, {"role", seat_role_name(seat.role)}};
            if (!seat.id.empty()) one["id"] = seat.id;
            seats.push_back(std::move(one));
          }
          threads.push_back({{"cpu", cpu.cpu},
                             {"allowed", cpu.allowed},
                             {"isolated", cpu.isolated},
                             {"housekeeping", cpu.housekeeping},
                             {"seats", std::move(seats)}});
        }
        cores.push_back(std::move(threads));
      }
      caches.push_back(
          {{"l3", cache.l3 < 0 ? Json(nullptr) : Json(cache.l3)}, {"cores", std::move(cores)}});
    }
    nodes.push_back({{"id", node.id}, {"caches", std::move(caches)}});
  }
  return nodes;
}

}  // namespace vmrig
