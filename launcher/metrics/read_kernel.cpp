#include "launcher/metrics/read_kernel.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <string_view>

#include "hostcfg/base/error.hpp"

namespace vmrig {
namespace {

// The kernel walks all of a process's small pages to tell the nodes of its large ones: a million of
// them take it about 50 ms, with the memory's lock held.
constexpr Bytes kMostSmallPages = Bytes::gib(4);

// Netlink answers for this process's namespace, where a device of that name may be another.
bool shares_network(const FolderReader& root, pid_t pid) {
  const auto own = root.link(fmt::format("proc/{}/ns/net", ::getpid()).c_str());
  return own && own == root.link(fmt::format("proc/{}/ns/net", pid).c_str());
}

std::optional<int> net_index_of(const FolderReader& root, const PciAddress& pf) {
  const std::string folder = fmt::format("sys/bus/pci/devices/{}/net", pf.to_string());
  for (const std::string& name : root.names(folder.c_str())) {
    if (auto index = root.number<int>(fmt::format("{}/{}/ifindex", folder, name).c_str())) {
      return index;
    }
  }
  return std::nullopt;
}

void read_nics(const FolderReader& root, const VmState& state, KernelReading& reading) {
  if (state.nics.empty() && state.passed.empty()) return;
  if (!shares_network(root, state.qemu.pid)) return;
  try {
    NetlinkSocket socket;
    for (const NicRecord& nic : state.nics) {
      if (nic.host_end.interface.empty()) continue;
      if (auto counters = read_guest_counters(socket, nic.host_end.interface)) {
        reading.nics.emplace(nic.id, *counters);
      }
    }
    for (const PassedRecord& passed : state.passed) {
      if (!passed.pf) continue;
      const auto index = net_index_of(root, *passed.pf);
      if (!index) continue;
      if (auto counters = read_vf_counters(socket, *index, passed.vf_index)) {
        reading.nics.emplace(passed.id, *counters);
      }
    }
  } catch (const Error&) {
    // A sandbox without netlink does not tell.
  }
}

// "throttled_usec 12345" among the lines of cpu.stat.
std::optional<double> throttled_of(const std::string& group) {
  constexpr std::size_t kLimit = 4096;
  constexpr double kMicroseconds = 1e6;
  const auto folder = FolderReader::open(group);
  const auto content = folder ? folder->text("cpu.stat", kLimit) : std::nullopt;
  for (std::string_view rest = content ? *content : std::string_view(); !rest.empty();) {
    std::string_view line = take_line(rest);
    if (take_word(line) != "throttled_usec") continue;
    if (const auto us = parse_number<std::uint64_t>(line)) {
      return static_cast<double>(*us) / kMicroseconds;
    }
  }
  return std::nullopt;
}

bool is_cheap_to_walk(const ProcessUse& qemu) {
  const Bytes small = qemu.anonymous + qemu.file + qemu.shared;
  return qemu.hugetlb > Bytes{} && small < kMostSmallPages;
}

}  // namespace

KernelReading read_kernel(const FolderReader& root, const VmEntry& entry, PageWalk walk) {
  KernelReading reading;
  if (!entry.state) return reading;
  const VmState& state = *entry.state;
  if (entry.supervisor_alive) {
    reading.supervisor = read_process_use(root, state.supervisor.pid);
  }
  if (!entry.qemu_alive) return reading;
  reading.threads = read_vm_threads(root, state);
  reading.at = std::chrono::steady_clock::now();
  reading.uptime = age_of(state.qemu);
  reading.qemu = read_process_use(root, state.qemu.pid);
  if (walk == PageWalk::kWhereCheap && reading.qemu && is_cheap_to_walk(*reading.qemu)) {
    reading.hugetlb = read_hugetlb_use(root, state.qemu.pid);
  }
  read_nics(root, state, reading);
  try {
    reading.limits = read_vm_limits(state);
  } catch (const Error&) {
    // A record of another version, with steps that this one does not know.
  }
  if (reading.limits) reading.throttled_s = throttled_of(reading.limits->group);
  return reading;
}

std::map<int, double> read_host_steal(const FolderReader& root) {
  constexpr std::size_t kLimit = std::size_t{1} << 20;
  constexpr std::string_view kCpu = "cpu";
  const auto ticks_per_second = static_cast<double>(::sysconf(_SC_CLK_TCK));
  std::map<int, double> steal;
  // The lines of the CPUs come first; what follows is long on a large host.
  const auto content = root.text("proc/stat", kLimit, "\nintr");
  for (std::string_view rest = content ? *content : std::string_view(); !rest.empty();) {
    std::string_view line = take_line(rest);
    const std::string_view name = take_word(line);
    const auto cpu =
        name.starts_with(kCpu) ? parse_number<int>(name.substr(kCpu.size())) : std::nullopt;
    if (!cpu) continue;
    constexpr int kBefore = 7;  // user nice system idle iowait irq softirq
    for (int i = 0; i < kBefore; ++i) take_word(line);
    if (const auto ticks = parse_number<std::uint64_t>(take_word(line))) {
      steal[*cpu] = static_cast<double>(*ticks) / ticks_per_second;
    }
  }
  return steal;
}

}  // namespace vmrig
