// The threads that work for a VM by what they do, as the kernel counts them now.
#pragma once

#include <string>
#include <vector>

#include "hostcfg/folder_reader.hpp"
#include "hostcfg/thread_use.hpp"
#include "launcher/vm_state.hpp"

namespace vmrig {

inline constexpr const char* kOtherThreads = "other";  // the role of QEMU's passing helpers

struct VmThreadUse {
  std::string role;  // as in the record, or kOtherThreads
  std::string id;
  CpuSet pinned;  // by the record
  ThreadUse use;
};

// All of QEMU's threads, and the vhost workers of the record that the kernel runs outside of QEMU's
// process: in the record's order, the others after them. `root` is the host's /. Empty when QEMU
// is gone; a thread that has ended is left out.
std::vector<VmThreadUse> read_vm_threads(const FolderReader& root, const VmState& state);

}  // namespace vmrig
