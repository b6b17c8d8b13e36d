// Whether a host is fit for a VM: one row a question, each with what was found and what mends it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "hostcfg/base/bytes.hpp"
#include "hostcfg/base/cpu_set.hpp"
#include "hostcfg/base/error.hpp"
#include "hostcfg/facts.hpp"
#include "hostcfg/host_settings.hpp"

namespace vmrig {

// How bad it is when something is missing: not at all, a warning, a problem.
enum class Need { kNone, kUseful, kRequired };

// What the host is judged by. As it is here: any tuned VM, that is one on KVM with CPUs of its own
// and locked hugepages, and devices where the host can hand them out.
struct HostWishes {
  Need kvm = Need::kRequired;
  Need vfio = Need::kUseful;
  Need vhost = Need::kUseful;
  bool network = true;  // packets of the VM pass the host's network cards
  bool pinned = true;   // vCPUs have CPUs of their own
  CpuSet cpus;          // these; empty: the isolated ones
  int vcpus = 1;
  bool locked = true;   // guest memory is locked, or pinned by VFIO
  bool merged = false;  // KSM may merge guest memory
  // Hugepages: of `page_size`, on `node`, as many as `memory` takes. A page size of 0 with
  // `hugepages` is any size, a node of none any node, memory of 0 not told.
  bool hugepages = true;
  Bytes page_size;
  std::optional<int> node;
  Bytes memory;
  bool hugetlbfs = true;  // hugepages come from a mount
  bool limits = true;     // cgroups are to limit it
};

struct HostRow {
  std::string name;  // "governor"; unique among the rows
  Severity severity = Severity::kOk;
  std::string found;
  std::string mend;  // a command or a kernel parameter; empty with kOk
  std::string keep;  // what makes it last over a reboot, where `mend` does not; may be empty
};

// In the order in which they are shown. Pure.
std::vector<HostRow> check_host(const HostFacts& facts, const HostSettings& settings,
                                const HostWishes& wishes);

}  // namespace vmrig
