#include "launcher/limits.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <string_view>
#include <utility>

#include "launcher/preflight.hpp"
#include "launcher/scheduling.hpp"

namespace vmrig {
namespace {

// QEMU itself, its firmware, device buffers and page tables: what a small VM takes beside its RAM.
constexpr Bytes kMargin = Bytes::mib(256);
constexpr int kCpuPeriodUs = 100'000;  // the kernel's own default
constexpr int kPercentUs = kCpuPeriodUs / 100;
// QEMU's main thread, its RCU thread, and one for the sake of a helper that is being started.
constexpr int kFixedThreads = 3;
// The most workers that QEMU's main loop, and each iothread, keeps for I/O (qemu
// include/block/thread-pool.h THREAD_POOL_MAX_THREADS_DEFAULT).
constexpr int kWorkers = 64;

constexpr std::array<const char*, 4> kControllers = {"cpu", "io", "memory", "pids"};

bool has(const std::vector<std::string>& list, std::string_view word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

HostStep step_of(HostAction action, const HostFacts& facts) {
  std::string text = describe_action(action, facts);
  std::string undo = describe_undo(action, facts);
  return {std::move(action), std::move(text), std::move(undo)};
}

Bytes ordinary_memory(const VmConfig& config, HugepageSize hugepages) {
  Bytes bytes;
  if (hugepages == HugepageSize::kNone) bytes = config.memory.size;
  for (const MemoryDeviceConfig& device : config.memory.devices) {
    if (device.hugepages.value_or(hugepages) == HugepageSize::kNone) bytes = bytes + device.size;
  }
  return bytes;
}

class LimitsPlanner {
 public:
  LimitsPlanner(const PlanInput& input, HugepageSize hugepages, std::vector<Diagnostic>& findings)
      : facts_(input.facts), config_(input.config), hugepages_(hugepages), findings_(findings) {}

  LimitsPlan plan(const PlanInput& input) {
    if (!wants_cgroup(config_)) return {};
    settings();
    const std::size_t before = findings_.size();
    require_controllers();
    if (findings_.size() != before) return {};
    LimitsPlan result;
    ShareCgroup share{.base = facts_.cgroup.base};
    for (const char* controller : kControllers) {
      if (has(facts_.cgroup.controllers, controller)) share.controllers.emplace_back(controller);
    }
    result.group = fmt::format("{}/{}", share.group(), config_.name);
    result.steps.push_back(step_of(std::move(share), facts_));
    result.steps.push_back(step_of(CreateCgroup{result.group, settings_}, facts_));
    for (HostStep& step : plan_device_limits(input, result.group, findings_)) {
      result.steps.push_back(std::move(step));
    }
    findings_.push_back(finding(Severity::kOk, "limits",
                                fmt::format("cgroups can be made in {}", facts_.cgroup.base)));
    return result;
  }

 private:
  void warn(std::string path, std::string message, std::string mend = {}) {
    findings_.push_back(
        finding(Severity::kWarning, std::move(path), std::move(message), std::move(mend)));
  }

  // What is to be written, and which key needs which controller.
  void settings() {
    for (std::size_t i = 0; i < config_.disks.size(); ++i) {
      if (config_.disks[i].io_max) needs_["io"] = fmt::format("disks[{}].io_max", i);
    }
    if (!config_.limits) return;
    const LimitsConfig& limits = *config_.limits;
    const auto set = [this](const char* controller, const char* key, const char* file,
                            std::string value) {
      needs_[controller] = std::string("limits.") + key;
      settings_[file] = std::move(value);
    };
    if (limits.cpu_weight) {
      set("cpu", "cpu_weight", "cpu.weight", std::to_string(*limits.cpu_weight));
    }
    if (limits.cpu_max) {
      set("cpu", "cpu_max", "cpu.max",
          fmt::format("{} {}", cpu_max_percent(*limits.cpu_max) * kPercentUs, kCpuPeriodUs));
    }
    if (limits.memory_max) {
      set("memory", "memory_max", "memory.max", std::to_string(limits.memory_max->value));
    }
    if (limits.memory_high) {
      set("memory", "memory_high", "memory.high", std::to_string(limits.memory_high->value));
    }
    if (limits.io_weight) {
      set("io", "io_weight", "io.weight", fmt::format("default {}", *limits.io_weight));
    }
    if (limits.pids_max) set("pids", "pids_max", "pids.max", std::to_string(*limits.pids_max));
    judge(limits);
  }

  void judge(const LimitsConfig& limits) {
    check_memory_limit(config_, hugepages_, "limits.memory_max", findings_);
    const Bytes ram = ordinary_memory(config_, hugepages_);
    if (limits.memory_high && *limits.memory_high < ram) {
      warn("limits.memory_high",
           fmt::format("{} is less than the {} of guest memory: a guest that uses them is held up "
                       "while the kernel reclaims",
                       to_string(*limits.memory_high), to_string(ram)));
    }
    if (limits.pids_max) judge_tasks(*limits.pids_max);
    if (limits.io_weight) {
      warn("limits.io_weight",
           "it acts where the disk's weights are turned on: io.cost.qos, which is off at first",
           "echo \"MAJOR:MINOR enable=1\" > /sys/fs/cgroup/io.cost.qos");
    }
    const bool limits_cpu = limits.cpu_max || limits.cpu_weight;
    if (limits_cpu && wants_realtime(config_)) {
      warn(limits.cpu_max ? "limits.cpu_max" : "limits.cpu_weight",
           "real-time threads (\"scheduler\") are not limited by it");
    } else if (limits.cpu_max && cpu_max_percent(*limits.cpu_max) < config_.cpu.vcpus * 100) {
      warn("limits.cpu_max",
           fmt::format("{} is less than the {} vCPUs can use: busy, they stand still for a part of "
                       "every {} ms",
                       *limits.cpu_max, config_.cpu.vcpus, kCpuPeriodUs / 1000));
    }
  }

  void judge_tasks(int most) {
    const int loops = 1 + static_cast<int>(config_.iothreads.size());
    const int vcpus = config_.cpu.max_vcpus.value_or(config_.cpu.vcpus);
    const int least = kFixedThreads + vcpus + static_cast<int>(config_.iothreads.size());
    const int good = least + kWorkers * loops;
    if (most < least) {
      findings_.push_back(
          finding(Severity::kProblem, "limits.pids_max",
                  fmt::format("{} tasks are too few: {} vCPUs, {} iothreads and QEMU's own are {}",
                              most, vcpus, config_.iothreads.size(), least),
                  fmt::format("\"pids_max\": {}", good), ExitStatus::kUsage));
    } else if (most < good) {
      warn("limits.pids_max",
           fmt::format("with {} tasks QEMU may lack workers when its disks are busy, and ends then",
                       most),
           fmt::format("\"pids_max\": {}", good));
    }
  }

  void require_controllers() {
    const CgroupFacts& cgroup = facts_.cgroup;
    const auto problem = [this](std::string path, std::string message, std::string mend) {
      findings_.push_back(
          finding(Severity::kProblem, std::move(path), std::move(message), std::move(mend)));
    };
    constexpr const char* kUnified =
        "kernel parameters systemd.unified_cgroup_hierarchy=1 cgroup_no_v1=all, or no limits";
    if (cgroup.mount.empty()) {
      return problem(
          "limits",
          cgroup.v1_controllers.empty() ? "no cgroup v2 hierarchy is mounted"
                                        : "only cgroup v1 is mounted, limits need v2",
          cgroup.v1_controllers.empty() ? "mount -t cgroup2 none /sys/fs/cgroup" : kUnified);
    }
    if (cgroup.base.empty()) {
      return problem(
          "limits",
          fmt::format("no group can be made below vmrig's own cgroup: {}", cgroup.why_not),
          "run vmrig as root, or systemd-run --user --scope -p Delegate=yes vmrig …");
    }
    for (const auto& [controller, path] : needs_) {
      if (has(cgroup.controllers, controller)) continue;
      if (has(cgroup.v1_controllers, controller)) {
        problem(path,
                fmt::format("the {} controller is cgroup v1's here, limits need v2", controller),
                kUnified);
      } else {
        problem(path,
                fmt::format("{} has no {} controller (it has {})", cgroup.base, controller,
                            cgroup.controllers.empty()
                                ? "none"
                                : fmt::format("{}", fmt::join(cgroup.controllers, ", "))),
                fmt::format("echo +{} > cgroup.subtree_control in each group above it, or "
                            "Delegate=yes in the systemd unit",
                            controller));
      }
    }
  }

  const HostFacts& facts_;
  const VmConfig& config_;
  HugepageSize hugepages_;
  std::vector<Diagnostic>& findings_;
  std::map<std::string, std::string> needs_;  // a controller, and the key that needs it
  std::map<std::string, std::string> settings_;
};

LimitDevice limit_of(const DiskConfig& disk, const std::string& group, const std::string& device) {
  const DiskIoMax& io_max = *disk.io_max;
  LimitDevice limit{.group = group, .disk = disk.id, .device = device};
  if (io_max.read_bps) limit.read_bps = io_max.read_bps->value;
  if (io_max.write_bps) limit.write_bps = io_max.write_bps->value;
  if (io_max.read_iops) limit.read_iops = static_cast<std::uint64_t>(*io_max.read_iops);
  if (io_max.write_iops) limit.write_iops = static_cast<std::uint64_t>(*io_max.write_iops);
  return limit;
}

}  // namespace

LimitsPlan plan_limits(const PlanInput& input, HugepageSize hugepages,
                       std::vector<Diagnostic>& findings) {
  return LimitsPlanner(input, hugepages, findings).plan(input);
}

std::vector<HostStep> plan_device_limits(const PlanInput& input, const std::string& group,
                                         std::vector<Diagnostic>& findings) {
  std::vector<HostStep> steps;
  std::map<std::string, std::string> taken;  // by device
  for (std::size_t i = 0; i < input.config.disks.size(); ++i) {
    const DiskConfig& disk = input.config.disks[i];
    if (!disk.io_max) continue;
    const std::string path = fmt::format("disks[{}].io_max", i);
    const auto problem = [&](std::string message, std::string mend) {
      findings.push_back(finding(Severity::kProblem, path, std::move(message), std::move(mend)));
    };
    if (group.empty()) {
      problem("the VM was started without a cgroup of its own",
              R"(start it with "limits" or a disk with "io_max"; "throttle" works at any time)");
      continue;
    }
    const auto found = input.facts.paths.find(disk.path);
    if (found == input.facts.paths.end()) {
      findings.push_back(
          finding(Severity::kWarning, path, quote(disk.path) + " was not looked at"));
      continue;
    }
    if (found->second.type == PathFacts::Type::kMissing) continue;  // told already
    const std::string& device = found->second.disk;
    if (device.empty()) {
      problem(
          fmt::format("{} is on no block device of its own (overlay, tmpfs, btrfs or a network's "
                      "file system), which the kernel could limit",
                      quote(disk.path)),
          R"("throttle" instead)");
      continue;
    }
    const auto [known, is_new] = taken.emplace(device, path);
    if (!is_new) {
      problem(fmt::format("{} is on device {}, which {} limits already", quote(disk.path), device,
                          known->second),
              "one \"io_max\" for the device, or \"throttle\" for each disk");
      continue;
    }
    steps.push_back(step_of(limit_of(disk, group, device), input.facts));
  }
  return steps;
}

void check_memory_limit(const VmConfig& config, HugepageSize hugepages, const std::string& path,
                        std::vector<Diagnostic>& findings) {
  if (!config.limits || !config.limits->memory_max) return;
  const Bytes most = *config.limits->memory_max;
  const Bytes ram = ordinary_memory(config, hugepages);
  const std::string mend =
      fmt::format("\"memory_max\": \"{}\"", to_string(ram + kMargin + kMargin));
  if (most <= ram) {
    findings.push_back(
        finding(Severity::kProblem, path,
                fmt::format("the guest's {} would not fit below \"memory_max\", {}, and QEMU "
                            "would be killed",
                            to_string(ram), to_string(most)),
                mend, ExitStatus::kUsage));
  } else if (most < ram + kMargin) {
    findings.push_back(finding(
        Severity::kWarning, path,
        fmt::format("\"memory_max\" leaves QEMU {} beside the guest's {}; when it is used up "
                    "the kernel kills QEMU",
                    to_string(most - ram), to_string(ram)),
        mend));
  }
}

}  // namespace vmrig
