#include "hostcfg/cpu_topology.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string>
#include <tuple>

namespace vmrig {
namespace {

constexpr int kNone = -1;

// For each CPU the lowest one of those that share something with it.
using Leaders = std::vector<int>;

class Tables {
 public:
  Tables(const FolderReader& folder, const CpuSet& online) : folder_(folder), online_(online) {}

  // nullopt when a table is missing or at odds with another.
  std::optional<Leaders> leaders(const char* name, const char* old_name) const {
    Leaders leaders(size(), kNone);
    for (const int cpu : online_.cpus()) {
      if (leader_of(leaders, cpu) != kNone) continue;
      auto sharing = folder_.cpulist(fmt::format("cpu{}/topology/{}", cpu, name).c_str());
      if (!sharing) {
        sharing = folder_.cpulist(fmt::format("cpu{}/topology/{}", cpu, old_name).c_str());
      }
      if (!sharing || !set_leader(leaders, cpu, *sharing)) return std::nullopt;
    }
    return leaders;
  }

  // kNone for a CPU without such a cache. Read once a core: its threads share it, too.
  std::optional<Leaders> last_level_caches(const Leaders& cores) const {
    Leaders leaders(size(), kNone);
    for (const int cpu : online_.cpus()) {
      if (leader_of(leaders, cpu) != kNone || leader_of(cores, cpu) != cpu) continue;
      const std::optional<CpuSet> sharing = sharing_l3(cpu);
      if (sharing && !set_leader(leaders, cpu, *sharing)) return std::nullopt;
    }
    return leaders;
  }

 private:
  std::size_t size() const { return static_cast<std::size_t>(online_.cpus().back()) + 1; }

  static int leader_of(const Leaders& leaders, int cpu) {
    return leaders.at(static_cast<std::size_t>(cpu));
  }

  // False when one of `sharing` has another leader already.
  bool set_leader(Leaders& leaders, int cpu, const CpuSet& sharing) const {
    const CpuSet members = sharing & online_;
    if (members.first() != cpu) return false;  // the lowest is met first
    for (const int member : members.cpus()) {
      int& leader = leaders.at(static_cast<std::size_t>(member));
      if (leader != kNone) return false;
      leader = cpu;
    }
    return true;
  }

  std::optional<CpuSet> sharing_l3(int cpu) const {
    constexpr int kLevel = 3;
    constexpr int kMostCaches = 10;
    // Where the last one had it, mostly.
    if (auto sharing = sharing_at(cpu, l3_index_, kLevel)) return sharing;
    for (int index = 0; index < kMostCaches; ++index) {
      auto sharing = sharing_at(cpu, index, kLevel);
      if (!sharing) continue;
      l3_index_ = index;
      return sharing;
    }
    return std::nullopt;
  }

  std::optional<CpuSet> sharing_at(int cpu, int index, int level) const {
    const std::string cache = fmt::format("cpu{}/cache/index{}/", cpu, index);
    if (folder_.number<int>((cache + "level").c_str()) != level) return std::nullopt;
    return folder_.cpulist((cache + "shared_cpu_list").c_str());
  }

  const FolderReader& folder_;
  const CpuSet& online_;
  mutable int l3_index_ = 3;
};

// As hwloc numbers: by package, in it by cache, in that by core, each by its lowest CPU.
struct Place {
  int package = kNone;
  int l3 = kNone;
  int core = kNone;
  auto key() const { return std::make_tuple(package, l3 == kNone ? core : l3, core); }
};

// Numbers for the values of `part` in the places' order.
std::map<int, int> numbered(const std::vector<Place>& places, int Place::*part) {
  std::map<int, int> numbers;
  for (const Place& place : places) {
    if (place.*part != kNone) numbers.emplace(place.*part, static_cast<int>(numbers.size()));
  }
  return numbers;
}

int number_of(const std::map<int, int>& numbers, int leader) {
  const auto found = numbers.find(leader);
  return found == numbers.end() ? kNone : found->second;
}

}  // namespace

std::optional<std::vector<CpuFacts>> read_cpu_topology(const FolderReader& root) {
  const auto folder = root.folder("sys/devices/system/cpu");
  const auto online = folder ? folder->cpulist("online") : std::nullopt;
  if (!online || online->empty()) return std::nullopt;
  const Tables tables(*folder, *online);
  const auto cores = tables.leaders("core_cpus_list", "thread_siblings_list");
  const auto packages = tables.leaders("package_cpus_list", "core_siblings_list");
  const auto caches = cores ? tables.last_level_caches(*cores) : std::nullopt;
  if (!packages || !caches) return std::nullopt;

  const std::vector<int> ids = online->cpus();
  std::vector<Place> places;
  for (const int id : ids) {
    const auto index = static_cast<std::size_t>(id);
    places.push_back(
        {.package = packages->at(index), .l3 = caches->at(index), .core = cores->at(index)});
  }
  std::vector<Place> order = places;
  std::sort(order.begin(), order.end(),
            [](const Place& a, const Place& b) { return a.key() < b.key(); });
  const auto package_numbers = numbered(order, &Place::package);
  const auto l3_numbers = numbered(order, &Place::l3);
  const auto core_numbers = numbered(order, &Place::core);
  std::vector<CpuFacts> cpus;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    CpuFacts cpu;
    cpu.id = ids[i];
    cpu.core = number_of(core_numbers, places[i].core);
    cpu.package = number_of(package_numbers, places[i].package);
    cpu.l3 = number_of(l3_numbers, places[i].l3);
    cpu.node = kNone;
    cpus.push_back(cpu);
  }
  return cpus;
}

}  // namespace vmrig
