#include "launcher/metrics/show_activity.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace vmrig {
namespace {

constexpr std::size_t kCells = 8;
using Cells = std::array<std::string, kCells>;

struct Row {
  Cells cells;
  Style style = Style::kPlain;
};

// "0.4", "12", "50.1k", "3.2M".
std::string rate_text(double rate) {
  constexpr double kThousand = 1000;
  constexpr double kTen = 10;
  for (const char* unit : {"", "k", "M", "G"}) {
    if (rate < kThousand) {
      const bool whole = rate == 0 || rate >= kTen * kTen || (rate >= kTen && *unit == '\0');
      return whole ? fmt::format("{:.0f}{}", rate, unit) : fmt::format("{:.1f}{}", rate, unit);
    }
    rate /= kThousand;
  }
  return fmt::format("{:.0f}T", rate);
}

std::string memory_text(Bytes bytes) {
  constexpr double kMib = 1024.0 * 1024.0;
  constexpr double kGib = kMib * 1024.0;
  const auto value = static_cast<double>(bytes.value);
  return value < kGib ? fmt::format("{:.0f}MiB", value / kMib)
                      : fmt::format("{:.1f}GiB", value / kGib);
}

void put(Cells& cells, const Activity& activity) {
  constexpr double kPercent = 100;
  cells[3] = fmt::format("{:.1f}", activity.run * kPercent);
  cells[4] = fmt::format("{:.1f}", activity.wait * kPercent);
  cells[5] = rate_text(activity.involuntary);
  cells[6] = activity.exits ? rate_text(*activity.exits) : "-";
}

// A thread that waits so much of the time is not where it should be.
constexpr double kMuchWaiting = 0.05;

Row row_of(const ThreadActivity& thread) {
  Row row;
  const bool together = thread.tid < 0;
  row.cells[0] = together ? fmt::format("  {} others", printable(thread.id))
                 : thread.id.empty()
                     ? fmt::format("  {}", printable(thread.role))
                     : fmt::format("  {} {}", printable(thread.role), printable(thread.id));
  row.cells[1] = together ? "" : fmt::format("{}", thread.tid);
  row.cells[2] = together ? "" : fmt::format("{}", thread.last_cpu);
  put(row.cells, thread.activity);
  if (thread.activity.wait > kMuchWaiting) row.style = Style::kWarning;
  return row;
}

Row row_of(const VmActivity& vm) {
  Row row;
  const bool is_mute = vm.qemu > 0 && !vm.answers;
  row.cells[0] = fmt::format("{} {}{}", printable(vm.name), condition_name(vm.condition),
                             is_mute ? ", does not answer" : "");
  row.cells[1] = vm.qemu > 0 ? fmt::format("{}", vm.qemu) : "-";
  put(row.cells, vm.activity);
  row.cells[7] = vm.qemu > 0 ? memory_text(vm.memory) : "-";
  const bool is_well = vm.condition != VmCondition::kCrashed &&
                       vm.condition != VmCondition::kOrphaned &&
                       vm.condition != VmCondition::kStale && !is_mute;
  row.style = is_well ? Style::kBold : Style::kProblem;
  return row;
}

// What a terminal of so many columns can show of a line; cut between code points.
std::string cut(std::string line, std::size_t columns) {
  while (line.ends_with(' ')) line.pop_back();
  if (columns == 0 || columns_of(line) <= columns) return line;
  std::size_t end = 0;
  for (std::size_t shown = 0; shown < columns; ++shown) {
    ++end;
    while (end < line.size() && (static_cast<unsigned char>(line[end]) & 0xc0) == 0x80) ++end;
  }
  line.resize(end);
  return line;
}

std::string line_of(const Cells& cells, const std::array<std::size_t, kCells>& widths) {
  std::string line;
  for (std::size_t i = 0; i < kCells; ++i) {
    const std::string padding(widths.at(i) - columns_of(cells.at(i)), ' ');
    if (i > 0) line += "  ";
    // Numbers stand one below the other.
    line += i == 0 ? cells.at(i) + padding : padding + cells.at(i);
  }
  return line;
}

}  // namespace

std::vector<std::string> show_activity(const std::vector<VmActivity>& vms,
                                       const ActivityView& view) {
  std::vector<Row> rows;
  rows.push_back(
      {{"NAME", "TID", "CPU", "RUN%", "WAIT%", "INVOL/S", "EXITS/S", "MEMORY"}, Style::kDim});
  for (const VmActivity& vm : vms) {
    rows.push_back(row_of(vm));
    for (const ThreadActivity& thread : vm.threads) rows.push_back(row_of(thread));
  }
  std::array<std::size_t, kCells> widths{};
  for (const Row& row : rows) {
    for (std::size_t i = 0; i < kCells; ++i) {
      widths.at(i) = std::max(widths.at(i), columns_of(row.cells.at(i)));
    }
  }
  std::size_t shown = rows.size();
  if (view.rows > 0 && shown > view.rows) shown = view.rows - 1;
  std::vector<std::string> lines;
  for (std::size_t i = 0; i < shown; ++i) {
    const std::string line = cut(line_of(rows[i].cells, widths), view.columns);
    lines.push_back(styled(line, rows[i].style, view.colour));
  }
  if (shown < rows.size()) {
    lines.push_back(cut(fmt::format("and {} lines more", rows.size() - shown), view.columns));
  }
  return lines;
}

}  // namespace vmrig
