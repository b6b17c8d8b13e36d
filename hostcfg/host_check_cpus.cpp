// CPUs: isolation, their clocks, and who else uses them.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <stdexcept>

#include "hostcfg/host_check_rows.hpp"

namespace vmrig {
namespace {

// As the kernel's bitmap_parselist reads it, for the forms in use: "2-3", "2-N", "all".
CpuSet parse_parameter_list(std::string text, const CpuSet& present) {
  if (text == "all") return present;
  const std::vector<int> cpus = present.cpus();
  const std::size_t last = text.find('N');
  if (last != std::string::npos && !cpus.empty()) {
    text.replace(last, 1, fmt::format("{}", cpus.back()));
  }
  try {
    return CpuSet::parse(text);
  } catch (const std::invalid_argument&) {
    return {};
  }
}

}  // namespace

std::string HostCheck::isolating(const CpuSet& cpus) const {
  const std::string list = cpus.to_string();
  const std::string tick = settings_.has_nohz_full ? " nohz_full=" + list : std::string{};
  return kernel_parameter(
      fmt::format("isolcpus=managed_irq,domain,{0}{1} rcu_nocbs={0}", list, tick));
}

void HostCheck::isolation() {
  const char* name = "isolated CPUs";
  const CpuSet online = facts_.online();
  const CpuSet isolated = facts_.isolated & online;
  const CpuSet others = wishes_.cpus - isolated;
  const std::string found = isolated.empty()
                                ? fmt::format("none of {}", online.to_string())
                                : fmt::format("{} of {}", isolated.to_string(), online.to_string());
  if (wishes_.pinned && !others.empty()) {
    const CpuSet better = (isolated | wishes_.cpus) & isolatable();
    return lacks(Need::kUseful, name,
                 fmt::format("{}; the vCPUs are to have {}, where the scheduler puts other tasks "
                             "too",
                             found, wishes_.cpus.to_string()),
                 better.empty() ? "a host with more cores: the first one serves the host"
                                : isolating(better));
  }
  if (!isolated.empty() || !wishes_.pinned) return ok(name, found);
  const CpuSet better = isolatable();
  lacks(
      Need::kUseful, name, found + ": the scheduler puts other tasks on the vCPUs' CPUs",
      better.empty() ? "a host with more cores: the first one serves the host" : isolating(better));
}

// Source: linux Documentation/timers/no_hz.rst.
void HostCheck::tick() {
  const char* name = "nohz_full";
  const CpuSet quiet = quiet_cpus() & facts_.isolated;
  const std::string found = facts_.nohz_full.empty() ? "none" : facts_.nohz_full.to_string();
  if (quiet.empty()) return ok(name, found);
  if (facts_.nohz_full.includes(quiet)) return ok(name, found);
  const CpuSet ticking = quiet - facts_.nohz_full;
  const std::string text =
      fmt::format("{}: the timer ticks on the isolated CPUs {}", found, ticking.to_string());
  if (!settings_.has_nohz_full) {
    return lacks(useful_if(wishes_.pinned), name, text + "; this kernel is built without nohz_full",
                 "boot a kernel with CONFIG_NO_HZ_FULL");
  }
  lacks(useful_if(wishes_.pinned), name, text,
        kernel_parameter("nohz_full=" + (facts_.nohz_full | quiet).to_string()));
}

void HostCheck::rcu_callbacks() {
  const char* name = "rcu_nocbs";
  const CpuSet given = parse_parameter_list(parameter("rcu_nocbs").value_or(std::string{}),
                                            facts_.present | facts_.online());
  const CpuSet quiet = quiet_cpus() & facts_.isolated;
  // nohz_full= takes a CPU's callbacks away too.
  const CpuSet offloaded = given | facts_.nohz_full;
  const std::string found = offloaded.empty() ? "none" : offloaded.to_string();
  if (quiet.empty()) return ok(name, found);
  if (offloaded.includes(quiet)) {
    return ok(name, given.includes(quiet) ? found : found + ", by nohz_full");
  }
  lacks(useful_if(wishes_.pinned), name,
        fmt::format("{}: the isolated CPUs {} run RCU callbacks", found,
                    (quiet - offloaded).to_string()),
        kernel_parameter("rcu_nocbs=" + (given | quiet).to_string()));
}

void HostCheck::interrupts() {
  const char* name = "interrupts";
  const CpuSet quiet = quiet_cpus() & facts_.isolated;
  const InterruptSettings& interrupts = settings_.interrupts;
  if (quiet.empty()) return ok(name, "anywhere, as no CPU is isolated");
  const CpuSet rest = facts_.online() - facts_.isolated;
  const std::string own =
      interrupts.bound == 0
          ? ""
          : fmt::format("; {} bound there (a driver's own queues, or by hand)", interrupts.bound);
  if (!interrupts.strays.empty()) {
    std::vector<std::string> numbers;
    for (const int number : interrupts.strays) numbers.push_back(fmt::format("{}", number));
    constexpr std::size_t kMost = 5;
    std::string each;
    for (const std::string& number : numbers) each += (each.empty() ? "" : " ") + number;
    return lacks(useful_if(wishes_.pinned), name,
                 fmt::format("isolated CPUs serve interrupts that others could: {}{}",
                             some_of(numbers, kMost), own),
                 fmt::format("for i in {}; do echo {} > /proc/irq/$i/smp_affinity_list; done", each,
                             rest.to_string()),
                 kernel_parameter("irqaffinity=" + rest.to_string()));
  }
  if (interrupts.default_cpus && !(*interrupts.default_cpus & quiet).empty()) {
    return lacks(useful_if(wishes_.pinned), name,
                 fmt::format("new ones may go to {}, isolated CPUs among them{}",
                             (*interrupts.default_cpus & facts_.online()).to_string(), own),
                 kernel_parameter("irqaffinity=" + rest.to_string()));
  }
  ok(name, "away from the isolated CPUs" + own);
}

void HostCheck::governor() {
  const char* name = "governor";
  if (settings_.frequency.empty()) {
    return ok(name, "none: firmware or hypervisor choose the frequency");
  }
  const CpuSet quiet = quiet_cpus();
  std::map<std::string, CpuSet> by_governor;
  CpuSet slow;
  CpuSet all;
  for (const FrequencyPolicy& policy : settings_.frequency) {
    all = all | policy.cpus;
    const CpuSet judged = quiet.empty() ? policy.cpus : policy.cpus & quiet;
    if (judged.empty()) continue;
    by_governor[policy.governor] = by_governor[policy.governor] | judged;
    if (policy.governor != "performance") slow = slow | judged;
  }
  std::string found;
  for (const auto& [governor, cpus] : by_governor) {
    found += fmt::format("{}{} on {}", found.empty() ? "" : ", ", governor, cpus.to_string());
  }
  if (slow.empty()) return ok(name, found.empty() ? "not told of these CPUs" : found);
  lacks(useful_if(wishes_.pinned), name, std::move(found),
        slow == all ? "echo performance | tee "
                      "/sys/devices/system/cpu/cpufreq/policy*/scaling_governor"
                    : fmt::format("cpupower -c {} frequency-set -g performance", slow.to_string()),
        kernel_parameter("cpufreq.default_governor=performance"));
}

void HostCheck::smt() {
  const char* name = "SMT";
  CpuSet shared;
  for (const CpuFacts& cpu : facts_.cpus) {
    if (facts_.siblings(cpu.id).size() > 1) shared.insert(cpu.id);
  }
  if (shared.empty()) {
    const std::string& control = settings_.smt_control;
    return ok(name, control.empty() ? "off" : fmt::format("off ({})", control));
  }
  const int example = shared.first();
  std::string found = fmt::format("on: CPUs {} share a core", facts_.siblings(example).to_string());
  if (shared.size() > facts_.siblings(example).size()) found += ", and so on";
  // A sibling that the scheduler uses slows the isolated CPU by half.
  const CpuSet quiet = quiet_cpus() & facts_.isolated;
  CpuSet siblings;
  for (const int cpu : quiet.cpus()) siblings = siblings | facts_.siblings(cpu);
  const CpuSet noisy = (siblings & facts_.online()) - facts_.isolated - wishes_.cpus;
  if (noisy.empty()) return ok(name, found);
  lacks(useful_if(wishes_.pinned), name,
        fmt::format("{}; CPUs {} are isolated, their siblings {} are not", found, quiet.to_string(),
                    noisy.to_string()),
        kernel_parameter("isolcpus=managed_irq,domain," + (facts_.isolated | noisy).to_string()));
}

// KVM gives guests a clock of their own only on a host whose own clock is the TSC.
// Source: linux arch/x86/kvm/x86.c gtod_is_based_on_tsc.
void HostCheck::clock_source() {
  const char* name = "clock source";
  const std::string& current = settings_.clock_source;
  if (current.empty()) return ok(name, "not told");
  if (current == "tsc" || current == "hyperv_clocksource_tsc_page") return ok(name, current);
  const auto& known = settings_.clock_sources;
  const bool has_tsc = std::find(known.begin(), known.end(), "tsc") != known.end();
  lacks(useful_if(wishes_.kvm != Need::kNone), name,
        current + ": reading the time is slow in guests, and on the host",
        has_tsc ? "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource"
                : "dmesg | grep -i tsc tells why the kernel gave it up; if wrongly, " +
                      kernel_parameter("tsc=reliable"),
        has_tsc ? kernel_parameter("clocksource=tsc") : std::string{});
}

void HostCheck::cpuset() {
  const char* name = "cpuset";
  const CpuSet online = facts_.online();
  std::string found =
      facts_.allowed.includes(online)
          ? "all CPUs"
          : fmt::format("CPUs {} of {}", facts_.allowed.to_string(), online.to_string());
  if (facts_.nodes.size() > 1) {
    found += fmt::format(", memory of node {}", facts_.allowed_nodes.to_string());
  }
  const CpuSet beyond = (wishes_.cpus.empty() ? quiet_cpus() : wishes_.cpus) - facts_.allowed;
  if (beyond.empty()) return ok(name, found);
  lacks(useful_if(wishes_.pinned), name,
        fmt::format("{}; the isolated CPUs {} are outside", found, beyond.to_string()),
        fmt::format("widen the cpuset (a container: --cpuset-cpus={}; systemd: AllowedCPUs=)",
                    (facts_.allowed | beyond).to_string()));
}

}  // namespace vmrig
