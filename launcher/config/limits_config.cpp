// The keys of "limits".
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "launcher/config/vm_config.hpp"

namespace vmrig {
namespace {

constexpr int kMostPercent = 409'600;  // of the 4096 vCPUs that there can be
constexpr int kMostWeight = 10'000;    // linux include/linux/cgroup.h CGROUP_WEIGHT_MAX
constexpr int kMostTasks = 4'194'304;  // linux include/linux/threads.h PID_MAX_LIMIT

TextRule percent_rule() {
  return {.min_length = 2,
          .max_length = 7,
          .pattern = "^[1-9][0-9]*%$",
          .meaning = "percent of one CPU's time, such as \"250%\"",
          .check = [](const std::string& text) -> std::string {
            return cpu_max_percent(text) > 0
                       ? ""
                       : fmt::format(
                             "is no share of CPU time; write \"250%\" for two CPUs and a "
                             "half, \"{}%\" at most",
                             kMostPercent);
          }};
}

}  // namespace

void describe(Fields& fields, LimitsConfig& limits) {
  const SizeRule memory{Bytes::mib(16), Bytes::gib(std::uint64_t{64} << 10), Bytes::mib(1)};
  fields.optional("cpu_weight", "Share of busy CPUs beside other cgroups; theirs is mostly 100.",
                  limits.cpu_weight, IntRule{1, kMostWeight});
  fields.optional("cpu_max", "CPU time that all threads have together, in percent of one CPU.",
                  limits.cpu_max, percent_rule());
  fields.optional("memory_max",
                  "Memory of QEMU and its helpers, the guest's in it; hugepages don't count.",
                  limits.memory_max, memory);
  fields.optional("memory_high", "From here on the kernel reclaims the VM's memory.",
                  limits.memory_high, memory);
  fields.optional("io_weight", "Share of busy disks beside other cgroups; theirs is mostly 100.",
                  limits.io_weight, IntRule{1, kMostWeight});
  fields.optional("pids_max", "Number of threads and processes.", limits.pids_max,
                  IntRule{8, kMostTasks});
  fields.rule([&](const Fields::Fault& fault) {
    if (limits.memory_high && limits.memory_max && *limits.memory_high > *limits.memory_max) {
      fault("memory_high",
            fmt::format("is more than \"memory_max\", {}", to_string(*limits.memory_max)), {});
    }
  });
}

int cpu_max_percent(const std::string& text) {
  int percent = 0;
  const char* end = text.data() + text.size();
  const auto [rest, fault] = std::from_chars(text.data(), end, percent);
  const bool good = fault == std::errc() && rest + 1 == end && *rest == '%' && percent > 0 &&
                    percent <= kMostPercent;
  return good ? percent : 0;
}

bool wants_cgroup(const VmConfig& config) {
  return config.limits || std::any_of(config.disks.begin(), config.disks.end(),
                                      [](const DiskConfig& disk) { return disk.io_max; });
}

}  // namespace vmrig
