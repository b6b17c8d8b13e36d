// Which CPUs of the host a VM may be given, and in which order it takes them.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "hostcfg/base/cpu_set.hpp"
#include "hostcfg/facts.hpp"
#include "launcher/config/vm_config.hpp"
#include "launcher/leases.hpp"

namespace vmrig {

// Pure and deterministic. Refers to the facts and leases that it is made of.
class FreeCpus {
 public:
  // A VM whose CPUs are `exclusive` is given none that another VM is pinned to, knowingly shared or
  // not; one that shares is kept from those alone that another has for itself. `smt`: with kUse
  // each CPU takes a vCPU; otherwise a vCPU takes a whole core.
  FreeCpus(const HostFacts& facts, const std::vector<Lease>& leases, bool exclusive, SmtPolicy smt);

  // Online, inside vmrig's cpuset, and not kept from this VM by another.
  CpuSet usable() const { return usable_; }
  // What others keep from this VM.
  const CpuSet& held() const { return held_; }
  // Which VM that is; empty for none.
  std::string holder_of(const CpuSet& cpus) const;
  // CPU 0 and its siblings, where the kernel does its own work.
  const CpuSet& housekeeping() const { return housekeeping_; }

  // Takes CPUs out of what is usable: a part of this VM has them.
  void take(const CpuSet& cpus) { usable_ = usable_ - cpus; }

  // Those of `within` that can take a vCPU each, all of them, the best first and so that the first
  // `count` lie well together: isolated CPUs before others and housekeeping last; CPUs that no
  // other VM shares first; whole cores before second threads; and among equals, as few last-level
  // caches as can be, the smallest that is large enough.
  std::vector<int> for_vcpus(const CpuSet& within, std::size_t count) const;
  // What QEMU's other threads get beside `vcpus`: their siblings where `smt` says so and there are
  // any, else one spare CPU. Empty when none is left.
  CpuSet for_emulator(const CpuSet& vcpus, const CpuSet& within) const;
  // One more CPU of `within` that no vCPU has or, with kIsolate, is slowed by; empty for none.
  CpuSet spare(const CpuSet& vcpus, const CpuSet& within) const;

 private:
  struct Candidate;
  std::vector<Candidate> candidates(const CpuSet& within) const;
  CpuSet siblings_of(const CpuSet& vcpus) const;

  const HostFacts& facts_;
  const std::vector<Lease>& leases_;
  bool exclusive_;
  SmtPolicy smt_;
  CpuSet held_;
  CpuSet shared_;  // other VMs are pinned there, and so may this one be
  CpuSet usable_;
  CpuSet housekeeping_;
};

}  // namespace vmrig
