#include "hostcfg/host_check.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "hostcfg/host_check_rows.hpp"

namespace vmrig {
namespace {

// Source: linux kernel/params.c parameq.
bool is_same_parameter(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    return x == y || (x == '-' && y == '_') || (x == '_' && y == '-');
  });
}

Severity severity_of(Need need) {
  switch (need) {
    case Need::kNone:
      return Severity::kOk;
    case Need::kUseful:
      return Severity::kWarning;
    case Need::kRequired:
      return Severity::kProblem;
  }
  return Severity::kProblem;
}

}  // namespace

void HostCheck::lacks(Need need, std::string name, std::string found, std::string mend,
                      std::string keep) {
  const bool is_judged = need != Need::kNone;
  rows_.push_back({.name = std::move(name),
                   .severity = severity_of(need),
                   .found = std::move(found),
                   .mend = is_judged ? std::move(mend) : std::string{},
                   .keep = is_judged ? std::move(keep) : std::string{}});
}

std::optional<std::string> HostCheck::parameter(std::string_view name) const {
  std::optional<std::string> value;
  for (const std::string& text : facts_.kernel_parameters) {
    if (text == "--") break;  // what follows is init's
    const std::size_t equals = text.find('=');
    if (!is_same_parameter(std::string_view(text).substr(0, equals), name)) continue;
    value = equals == std::string::npos ? std::string{} : text.substr(equals + 1);
  }
  return value;
}

CpuSet HostCheck::quiet_cpus() const {
  return wishes_.cpus.empty() ? facts_.isolated & facts_.online() : wishes_.cpus;
}

CpuSet HostCheck::isolatable() const {
  const CpuSet online = facts_.online();
  return online.empty() ? online
                        : online - facts_.siblings(online.first()) - CpuSet{online.first()};
}

std::string kernel_parameter(std::string_view text) {
  return fmt::format("kernel parameter {}", text);
}

std::string some_of(const std::vector<std::string>& items, std::size_t most) {
  std::string text;
  for (std::size_t i = 0; i < items.size() && i < most; ++i) {
    text += (i == 0 ? "" : ", ") + items[i];
  }
  if (items.size() > most) text += fmt::format(" and {} more", items.size() - most);
  return text;
}

std::vector<HostRow> check_host(const HostFacts& facts, const HostSettings& settings,
                                const HostWishes& wishes) {
  HostCheck check(facts, settings, wishes);
  check.virtualisation();
  check.kvm_device();
  check.nested();
  check.isolation();
  check.tick();
  check.rcu_callbacks();
  check.interrupts();
  check.governor();
  check.smt();
  check.clock_source();
  check.cpuset();
  check.hugepage_pools();
  check.hugetlbfs_mounts();
  check.transparent_hugepages();
  check.ksm();
  check.swap();
  check.memlock();
  check.numa_balancing();
  check.iommu();
  check.interrupt_remapping();
  check.vfio_modules();
  check.vhost_net();
  check.cgroup_controllers();
  check.cgroup_limits();
  return check.take();
}

}  // namespace vmrig
