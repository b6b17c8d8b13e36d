#include "launcher/show_machine_map.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

namespace vmrig {
namespace {

// The same width as the labels of a plan's other rows.
constexpr std::size_t kLabelColumns = 15;

// What stands beside a CPU's number, and what has been used of it.
class Marks {
 public:
  Marks(const MachineMap& map, const MapView& view) : own_(view.vm) {
    std::set<std::string> vms;
    for_each(map, [&](const CpuSeats& cpu) {
      for (const Seat& seat : cpu.seats) {
        if (seat.vm != own_) vms.insert(seat.vm);
      }
    });
    std::size_t next = 0;
    for (const std::string& vm : vms) letters_[vm] = letter(next++);
  }

  template <class Visit>
  static void for_each(const MachineMap& map, const Visit& visit) {
    for (const MapNode& node : map.nodes) {
      for (const MapCache& cache : node.caches) {
        for (const MapCore& core : cache.cores) {
          for (const CpuSeats& cpu : core.threads) visit(cpu);
        }
      }
    }
  }

  std::string of(const CpuSeats& cpu) {
    if (cpu.seats.empty()) {
      if (!cpu.allowed) return plain("x", "outside vmrig's cpuset");
      if (cpu.housekeeping) return plain("h", "housekeeping");
      return cpu.isolated ? plain(":", "isolated and free") : plain(".", "free");
    }
    const Seat& first = cpu.seats.front();
    std::string mark;
    if (first.vm != own_) {
      mark = letters_.at(first.vm);
      shown_.insert(first.vm);
    }
    mark += role(first);
    const bool several = std::any_of(cpu.seats.begin(), cpu.seats.end(),
                                     [&](const Seat& seat) { return seat.vm != first.vm; });
    if (several) mark += plain("+", "several VMs");
    return mark;
  }

  // "v vCPU, e emulator, A router-2"; after all marks were made.
  std::string legend() const {
    std::vector<std::string> parts;
    for (const auto& [mark, meaning] : used_) parts.push_back(mark + " " + meaning);
    for (const std::string& vm : shown_) {
      parts.push_back(fmt::format("{} {}", letters_.at(vm), quote(vm)));
    }
    return fmt::format("{}", fmt::join(parts, ", "));
  }

 private:
  // "A" to "Z", then "A1", "B1", ….
  static std::string letter(std::size_t index) {
    std::string text(1, static_cast<char>('A' + index % 26));
    return index < 26 ? text : text + std::to_string(index / 26);
  }

  std::string plain(const std::string& mark, const std::string& meaning) {
    const auto known = std::find_if(used_.begin(), used_.end(),
                                    [&](const auto& pair) { return pair.first == mark; });
    if (known == used_.end()) used_.emplace_back(mark, meaning);
    return mark;
  }

  std::string role(const Seat& seat) {
    switch (seat.role) {
      case SeatRole::kVcpu:
        return plain("v", "vCPU") + seat.id;
      case SeatRole::kIothread:
        return plain("i", "iothread");
      case SeatRole::kVhost:
        return plain("n", "vhost");
      case SeatRole::kEmulator:
        return plain("e", "emulator");
      case SeatRole::kIdle:
        return plain("-", "kept idle");
      case SeatRole::kShared:
        return plain("~", "shared");
      case SeatRole::kHeld:
        return {};
    }
    return {};
  }

  std::string own_;
  std::map<std::string, std::string> letters_;
  std::set<std::string> shown_;
  std::vector<std::pair<std::string, std::string>> used_;
};

CpuSet cpus_of(const MapCache& cache) {
  CpuSet set;
  for (const MapCore& core : cache.cores) {
    for (const CpuSeats& cpu : core.threads) set.insert(cpu.cpu);
  }
  return set;
}

bool has_seat_of(const MapCache& cache, const std::string& vm) {
  return std::any_of(cache.cores.begin(), cache.cores.end(), [&](const MapCore& core) {
    return std::any_of(core.threads.begin(), core.threads.end(), [&](const CpuSeats& cpu) {
      return std::any_of(cpu.seats.begin(), cpu.seats.end(),
                         [&](const Seat& seat) { return seat.vm == vm; });
    });
  });
}

// The cores beside each other, as many as a line takes, their threads below each other.
std::vector<std::string> draw(const MapCache& cache, Marks& marks, std::size_t columns) {
  std::vector<std::vector<std::string>> cells;  // by core, by thread
  std::size_t digits = 1;
  std::size_t width = 0;
  std::size_t threads = 0;
  for (const int cpu : cpus_of(cache).cpus()) digits = std::to_string(cpu).size();
  for (const MapCore& core : cache.cores) {
    std::vector<std::string> column;
    for (const CpuSeats& cpu : core.threads) {
      column.push_back(fmt::format("{:>{}} {}", cpu.cpu, digits, marks.of(cpu)));
      width = std::max(width, column.back().size());
    }
    threads = std::max(threads, column.size());
    cells.push_back(std::move(column));
  }
  constexpr std::size_t kGap = 2;
  const std::size_t room = columns > kLabelColumns ? columns - kLabelColumns : 1;
  const std::size_t per_line = std::max<std::size_t>(1, (room + kGap) / (width + kGap));
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < cells.size(); begin += per_line) {
    for (std::size_t thread = 0; thread < threads; ++thread) {
      std::string line;
      for (std::size_t i = begin; i < cells.size() && i < begin + per_line; ++i) {
        const std::string& cell = thread < cells[i].size() ? cells[i][thread] : std::string();
        line += fmt::format("{:<{}}", cell, width + kGap);
      }
      line.erase(line.find_last_not_of(' ') + 1);
      lines.push_back(std::move(line));
    }
  }
  return lines;
}

// "CPUs 18-35,54-71: 30 free, 6 with \"other\"".
std::string summary(const std::vector<const MapCache*>& caches) {
  CpuSet all;
  std::size_t free = 0;
  std::map<std::string, std::size_t> taken;
  for (const MapCache* cache : caches) {
    all = all | cpus_of(*cache);
    for (const MapCore& core : cache->cores) {
      for (const CpuSeats& cpu : core.threads) {
        if (!cpu.seats.empty()) {
          ++taken[cpu.seats.front().vm];
        } else if (cpu.allowed) {
          ++free;
        }
      }
    }
  }
  std::string text = fmt::format("CPUs {}: {} free", all.to_string(), free);
  for (const auto& [vm, count] : taken) text += fmt::format(", {} with {}", count, quote(vm));
  return text;
}

}  // namespace

std::string show_machine_map(const MachineMap& map, const MapView& view) {
  Marks marks(map, view);
  std::string body;
  const auto line = [&](const std::string& label, const std::string& text) {
    body += fmt::format("{:<{}}{}\n", label, kLabelColumns, text);
  };
  for (const MapNode& node : map.nodes) {
    const std::string name = fmt::format("  node {}", node.id);
    std::string label = name;
    std::vector<const MapCache*> others;
    for (const MapCache& cache : node.caches) {
      if (!view.vm.empty() && !has_seat_of(cache, view.vm)) {
        others.push_back(&cache);
        continue;
      }
      if (node.caches.size() > 1 && cache.l3 >= 0) {
        label = fmt::format("{:<{}} L3 {}", label, name.size(), cache.l3);
      }
      for (const std::string& text : draw(cache, marks, view.columns)) {
        line(label, text);
        label.clear();
      }
    }
    if (others.empty()) continue;
    body += label.empty() ? std::string(kLabelColumns, ' ')
                          : fmt::format("{:<{}}", label, kLabelColumns);
    body += wrapped(summary(others), view.columns, kLabelColumns) + '\n';
  }
  const std::string head =
      styled(fmt::format("{:<{}}", "machine", kLabelColumns), Style::kBold, view.colour);
  return head + wrapped(marks.legend(), view.columns, kLabelColumns) + '\n' + body;
}

}  // namespace vmrig
