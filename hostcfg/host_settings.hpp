// How a host is tuned: what `host check` judges besides the facts that plans are made of. Plain
// data; what the host does not tell is left at its default.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "hostcfg/base/bytes.hpp"
#include "hostcfg/base/cpu_set.hpp"
#include "hostcfg/facts.hpp"

namespace vmrig {

struct NodeOwner {
  std::string user;  // name, or the number where /etc/passwd does not know it
  std::string group;
  unsigned mode = 0;  // permission bits
};

// Source: linux Documentation/ABI/testing/sysfs-kernel-iommu_groups; drivers/iommu/iommu.c.
struct IommuSettings {
  int groups = 0;
  int passthrough = 0;          // groups whose default domain is "identity"
  bool firmware_table = false;  // ACPI DMAR (VT-d) or IVRS (AMD-Vi)
  bool remaps_interrupts = false;
  bool unsafe_interrupts = false;  // vfio_iommu_type1.allow_unsafe_interrupts
};

// CPUs whose frequency one governor chooses together.
struct FrequencyPolicy {
  CpuSet cpus;
  std::string governor;
};

// Where interrupts go. Source: linux Documentation/core-api/irq/irq-affinity.rst.
struct InterruptSettings {
  std::optional<CpuSet> default_cpus;  // of interrupts to come
  // Those with a handler that are served by an isolated CPU now, although their mask would let
  // them be served elsewhere.
  std::vector<int> strays;
  int bound = 0;  // those that may go to isolated CPUs only
};

struct SwapArea {
  std::string path;
  Bytes size;
};

// The limits of the cgroups that this process is in, the tightest up to the top; and what could be
// limited. Source: linux Documentation/admin-guide/cgroup-v2.rst; cgroup-v1/.
struct CgroupSettings {
  bool is_v2 = false;                       // a cgroup2 that we are in is mounted
  std::string path;                         // of our own cgroup in it
  std::vector<std::string> controllers;     // that our own v2 cgroup has
  std::vector<std::string> v1_controllers;  // in v1 hierarchies
  bool may_divide = false;                  // we may make cgroups below our own
  std::optional<Bytes> memory_max;
  std::optional<double> cpu_max;  // CPUs' worth of time
  std::optional<std::uint64_t> pids_max;
  std::map<Bytes, Bytes> hugetlb_max;  // by page size
};

struct HostSettings {
  std::string user_name;  // of the effective uid; the number where it has none
  std::optional<NodeOwner> kvm_owner;
  std::optional<bool> nested;  // whether KVM guests may have KVM themselves
  IommuSettings iommu;

  bool has_nohz_full = false;  // the kernel is built with it
  std::vector<FrequencyPolicy> frequency;
  std::string smt_control;  // "on", "off", "forceoff", "notsupported", …
  std::string clock_source;
  std::vector<std::string> clock_sources;
  InterruptSettings interrupts;

  std::string transparent_hugepages;  // "always", "madvise", "never"
  std::optional<int> ksm;             // 0 stopped, 1 runs, 2 stopped and all unmerged
  std::optional<int> numa_balancing;  // 0: off
  std::optional<int> swappiness;
  std::vector<SwapArea> swap;

  CgroupSettings cgroup;
};

}  // namespace vmrig
