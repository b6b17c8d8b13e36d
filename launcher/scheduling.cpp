#include "launcher/scheduling.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>

#include "launcher/preflight.hpp"

namespace vmrig {
namespace {

class SchedulingCheck {
 public:
  SchedulingCheck(const PlanInput& input, const Plan& plan, std::vector<Diagnostic>& findings)
      : facts_(input.facts), config_(input.config), plan_(plan), findings_(findings) {}

  void run() {
    if (!wants_realtime(config_)) return;
    check("cpu.scheduler", config_.cpu.scheduler, "the vCPUs", vcpu_cpus());
    for (std::size_t i = 0; i < config_.iothreads.size(); ++i) {
      const IothreadConfig& iothread = config_.iothreads[i];
      const auto found = plan_.placement.iothreads.find(iothread.id);
      std::optional<CpuSet> cpus;
      if (found != plan_.placement.iothreads.end()) cpus = found->second;
      check(fmt::format("iothreads[{}].scheduler", i), iothread.scheduler,
            "iothread " + iothread.id, cpus);
    }
    check_throttling();
  }

 private:
  void warn(const std::string& path, std::string message, std::string mend) {
    findings_.push_back(finding(Severity::kWarning, path, std::move(message), std::move(mend)));
  }

  // Of all vCPUs that can come; none when one may run anywhere.
  std::optional<CpuSet> vcpu_cpus() const {
    CpuSet cpus;
    for (const CpuSet& vcpu : plan_.placement.vcpus) {
      if (vcpu.empty()) return std::nullopt;
      cpus = cpus | vcpu;
    }
    return cpus.empty() ? std::nullopt : std::optional(cpus);
  }

  void check(const std::string& path, const ThreadScheduler& scheduler, const std::string& who,
             const std::optional<CpuSet>& cpus) {
    if (!scheduler.is_realtime()) return;
    if (!facts_.can_sys_nice && facts_.rtprio_limit < scheduler.priority) {
      findings_.push_back(
          finding(Severity::kProblem, path,
                  fmt::format("{} needs CAP_SYS_NICE, or a limit on real-time priority of {} (it "
                              "is {})",
                              to_string(scheduler), scheduler.priority, facts_.rtprio_limit),
                  fmt::format("run vmrig as root, or ulimit -r {} (LimitRTPRIO={} in a systemd "
                              "unit; a container: --cap-add SYS_NICE)",
                              scheduler.priority, scheduler.priority)));
      return;
    }
    findings_.push_back(finding(Severity::kOk, path, to_string(scheduler) + " is permitted"));
    if (!cpus) {
      warn(path,
           fmt::format("{} may run anywhere: what the host has to do on the same CPU starves while "
                       "the guest is busy",
                       who),
           R"("pin" to isolated CPUs)");
      return;
    }
    const CpuSet open = *cpus - facts_.isolated;
    if (!open.empty()) {
      warn(path,
           fmt::format("{} {} not isolated: what else runs there, and the kernel's RCU threads, "
                       "starve while the guest is busy",
                       cpu_words(open), open.size() == 1 ? "is" : "are"),
           fmt::format("kernel parameters isolcpus=managed_irq,domain,{0} rcu_nocbs={0}",
                       open.to_string()));
    }
    const CpuSet& emulator = plan_.placement.emulator;
    const CpuSet shared = *cpus & emulator;
    if (!shared.empty() || (emulator.empty() && !open.empty())) {
      warn(path,
           fmt::format("QEMU's other threads run on {} as well, and wait there for a busy guest: "
                       "disks, network and the monitor stall",
                       cpu_words(shared.empty() ? open : shared)),
           R"("emulator": a CPU that no vCPU has)");
    }
  }

  static std::string cpu_words(const CpuSet& cpus) {
    return fmt::format("{} {}", cpus.size() == 1 ? "CPU" : "CPUs", cpus.to_string());
  }

  // Source: linux Documentation/scheduler/sched-rt-group.rst, "sched_rt_runtime_us".
  void check_throttling() {
    if (!facts_.rt_runtime_us || !facts_.rt_period_us) return;
    if (*facts_.rt_runtime_us < 0 || *facts_.rt_runtime_us >= *facts_.rt_period_us) return;
    warn(config_.cpu.scheduler.is_realtime() ? "cpu.scheduler" : "iothreads",
         fmt::format("the kernel stops a real-time thread that is busy all the time for {} ms in "
                     "{} ms (sched_rt_runtime_us)",
                     (*facts_.rt_period_us - *facts_.rt_runtime_us) / 1000,
                     *facts_.rt_period_us / 1000),
         "sysctl kernel.sched_rt_runtime_us=-1, where nothing else needs the vCPUs' CPUs");
  }

  const HostFacts& facts_;
  const VmConfig& config_;
  const Plan& plan_;
  std::vector<Diagnostic>& findings_;
};

}  // namespace

bool wants_realtime(const VmConfig& config) {
  return config.cpu.scheduler.is_realtime() ||
         std::any_of(
             config.iothreads.begin(), config.iothreads.end(),
             [](const IothreadConfig& iothread) { return iothread.scheduler.is_realtime(); });
}

void check_scheduling(const PlanInput& input, const Plan& plan, std::vector<Diagnostic>& findings) {
  SchedulingCheck(input, plan, findings).run();
}

}  // namespace vmrig
