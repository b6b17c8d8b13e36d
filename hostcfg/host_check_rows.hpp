// The parts of the host check, and what they share.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hostcfg/host_check.hpp"

namespace vmrig {

class HostCheck {
 public:
  HostCheck(const HostFacts& facts, const HostSettings& settings, const HostWishes& wishes)
      : facts_(facts), settings_(settings), wishes_(wishes) {}

  void virtualisation();  // host_check_devices.cpp
  void kvm_device();
  void nested();
  void iommu();
  void interrupt_remapping();
  void vfio_modules();
  void vhost_net();

  void hugepage_pools();  // host_check_memory.cpp
  void hugetlbfs_mounts();
  void transparent_hugepages();
  void ksm();
  void swap();
  void memlock();
  void numa_balancing();

  void isolation();  // host_check_cpus.cpp
  void tick();
  void rcu_callbacks();
  void governor();
  void smt();
  void interrupts();
  void clock_source();
  void cpuset();

  void cgroup_controllers();  // host_check_cgroup.cpp
  void cgroup_limits();

  std::vector<HostRow> take() { return std::move(rows_); }

 private:
  void ok(std::string name, std::string found) {
    rows_.push_back({.name = std::move(name),
                     .severity = Severity::kOk,
                     .found = std::move(found),
                     .mend = {},
                     .keep = {}});
  }
  // Something is not as it should be, and `need` says how bad that is. A mend for what nobody needs
  // is left out.
  void lacks(Need need, std::string name, std::string found, std::string mend,
             std::string keep = {});

  // Of the running kernel, the last one of that name; dashes and underscores are the same.
  std::optional<std::string> parameter(std::string_view name) const;
  // The CPUs that vCPUs run on and nothing else should: of the wishes, else the isolated ones.
  CpuSet quiet_cpus() const;
  // What could be isolated: all online CPUs but the first one's core, which serves the host.
  CpuSet isolatable() const;
  std::string isolating(const CpuSet& cpus) const;
  Need useful_if(bool wanted) const { return wanted ? Need::kUseful : Need::kNone; }
  void hugepage_pool(const NumaNode& node, const HugepagePool& pool);
  bool wants_pool(const NumaNode& node, Bytes page_size) const;
  bool any_pool_has_pages() const;
  std::string why_no_iommu_mend() const;

  const HostFacts& facts_;
  const HostSettings& settings_;
  const HostWishes& wishes_;
  std::vector<HostRow> rows_;
};

// "kernel parameter X", as rows call it.
std::string kernel_parameter(std::string_view text);

// "a, b and 3 more" of at most `most` items.
std::string some_of(const std::vector<std::string>& items, std::size_t most);

}  // namespace vmrig
