#include "hostcfg/process_use.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>

namespace vmrig {
namespace {

constexpr std::size_t kLimit = 8192;

std::chrono::nanoseconds from_ticks(std::uint64_t ticks) {
  constexpr std::uint64_t kSecondNs = 1'000'000'000;
  const long per_second = ::sysconf(_SC_CLK_TCK);
  if (per_second <= 0) return {};
  return std::chrono::nanoseconds(ticks * (kSecondNs / static_cast<std::uint64_t>(per_second)));
}

// "PID (name) STATE PPID …"; utime and stime are fields 14 and 15.
bool read_stat(std::string_view stat, ProcessUse& use) {
  const std::size_t end = stat.rfind(')');
  if (end == std::string_view::npos) return false;
  std::string_view rest = stat.substr(end + 1);
  constexpr int kBetween = 11;  // fields 3 to 13
  for (int i = 0; i < kBetween; ++i) take_word(rest);
  const auto user = parse_number<std::uint64_t>(take_word(rest));
  const auto system = parse_number<std::uint64_t>(take_word(rest));
  if (!user || !system) return false;
  use.user = from_ticks(*user);
  use.system = from_ticks(*system);
  return true;
}

void read_status(std::string_view status, ProcessUse& use) {
  const std::array<std::pair<std::string_view, Bytes*>, 6> rows = {{{"RssAnon:", &use.anonymous},
                                                                    {"RssFile:", &use.file},
                                                                    {"RssShmem:", &use.shared},
                                                                    {"HugetlbPages:", &use.hugetlb},
                                                                    {"VmSwap:", &use.swapped},
                                                                    {"VmLck:", &use.locked}}};
  while (!status.empty()) {
    std::string_view line = take_line(status);
    const std::string_view key = take_word(line);
    for (const auto& [name, value] : rows) {
      if (key == name)
        *value = Bytes::kib(parse_number<std::uint64_t>(take_word(line)).value_or(0));
    }
  }
}

}  // namespace

std::optional<ProcessUse> read_process_use(const FolderReader& root, pid_t pid) {
  ProcessUse use;
  const auto stat = root.text(fmt::format("proc/{}/stat", pid).c_str(), kLimit);
  if (!stat || !read_stat(*stat, use)) return std::nullopt;
  const auto status = root.text(fmt::format("proc/{}/status", pid).c_str(), kLimit);
  if (status) read_status(*status, use);
  return use;
}

}  // namespace vmrig
