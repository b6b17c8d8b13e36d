#include "launcher/commands/vm_summary.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string_view>

#include "hostcfg/folder_reader.hpp"

namespace vmrig {
namespace {

// A record of another version may lack what this one writes.
const Json* member(const Json& config, const char* group, const char* key) {
  const auto found = config.find(group);
  if (found == config.end() || !found->is_object()) return nullptr;
  const auto inner = found->find(key);
  return inner == found->end() ? nullptr : &*inner;
}

CpuSet pinned_cpus(const VmState& state) {
  CpuSet cpus;
  for (const VmThread& thread : state.threads) {
    if (thread.role == "vcpu") cpus = cpus | thread.cpus;
  }
  return cpus;
}

}  // namespace

// Source: linux Documentation/ABI/stable/sysfs-devices-system-cpu, cpuN/nodeM.
std::optional<int> node_of(const CpuSet& cpus) {
  const auto folder = FolderReader::open("/sys/devices/system/cpu");
  if (!folder) return std::nullopt;
  std::optional<int> node;
  for (const int cpu : cpus.cpus()) {
    std::optional<int> own;
    for (const std::string& name : folder->names(fmt::format("cpu{}", cpu).c_str())) {
      constexpr std::string_view kPrefix = "node";
      if (!name.starts_with(kPrefix)) continue;
      own = parse_number<int>(std::string_view(name).substr(kPrefix.size()));
    }
    if (!own || (node && *node != *own)) return std::nullopt;
    node = own;
  }
  return node;
}

VmSummary summarise(const VmEntry& entry) {
  VmSummary vm;
  if (!entry.state) return vm;
  const VmState& state = *entry.state;
  if (entry.qemu_alive) vm.pid = state.qemu.pid;
  if (entry.supervisor_alive) vm.supervisor = state.supervisor.pid;
  vm.reason = state.reason;
  if (entry.living()) vm.node = node_of(pinned_cpus(state));
  if (entry.qemu_alive) vm.uptime = age_of(state.qemu);
  if (!state.config.is_object()) return vm;
  const Json* vcpus = member(state.config, "cpu", "vcpus");
  if (vcpus != nullptr && vcpus->is_number_integer()) vm.vcpus = vcpus->get<int>();
  const Json* memory = member(state.config, "memory", "size");
  if (memory != nullptr && memory->is_string()) vm.memory = memory->get<std::string>();
  return vm;
}

}  // namespace vmrig
