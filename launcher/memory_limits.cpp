#include "launcher/memory_limits.hpp"

#include <fmt/format.h>

#include <map>

#include "launcher/preflight.hpp"

namespace vmrig {
namespace {

// What QEMU needs beside the guest's memory, roughly; without it the kernel ends QEMU under load.
constexpr Bytes kQemusOwn = Bytes::mib(256);

// The guest's memory by page size, 0 for ordinary pages.
std::map<Bytes, Bytes> needs(const VmConfig& config, HugepageSize hugepages) {
  std::map<Bytes, Bytes> all;
  const auto add = [&all](HugepageSize pages, Bytes size) {
    Bytes& sum = all[page_size_of(pages)];
    sum = sum + size;
  };
  add(hugepages, config.memory.size);
  for (const MemoryDeviceConfig& device : config.memory.devices) {
    add(device.hugepages.value_or(hugepages), device.size);
  }
  return all;
}

void check_hugepages(Bytes page, Bytes need, Bytes limit, std::vector<Diagnostic>& findings) {
  if (need <= limit) return;
  findings.push_back(finding(
      Severity::kProblem, "memory.hugepages",
      fmt::format("the cgroup that vmrig is in may have {} of {} pages, {} are needed",
                  to_string(limit), to_string(page), to_string(need)),
      fmt::format("raise its hugetlb.{}.max (in Kubernetes, the pod's limit hugepages-{})",
                  page == Bytes::gib(1) ? "1GB" : "2MB", page == Bytes::gib(1) ? "1Gi" : "2Mi")));
}

void check_ordinary(const MemoryConfig& memory, Bytes need, Bytes limit,
                    std::vector<Diagnostic>& findings) {
  if (need + kQemusOwn <= limit) return;
  const bool now = memory.prealloc || memory.lock;
  findings.push_back(
      finding(need > limit && now ? Severity::kProblem : Severity::kWarning, "memory.size",
              fmt::format("the cgroup that vmrig is in may have {} of memory; the guest's {} and "
                          "QEMU's own, some {}, are more: the kernel would end QEMU",
                          to_string(limit), to_string(need), to_string(kQemusOwn)),
              "raise its memory.max (the container's memory limit), or give the VM less memory"));
}

}  // namespace

void check_memory_limits(const PlanInput& input, HugepageSize hugepages,
                         std::vector<Diagnostic>& findings) {
  const MemoryLimits& limits = input.facts.memory_limits;
  for (const auto& [page, need] : needs(input.config, hugepages)) {
    if (page.value == 0) {
      if (limits.memory) check_ordinary(input.config.memory, need, *limits.memory, findings);
      continue;
    }
    const auto limit = limits.hugepages.find(page);
    if (limit != limits.hugepages.end()) check_hugepages(page, need, limit->second, findings);
  }
}

}  // namespace vmrig
