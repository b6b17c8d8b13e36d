// A VM in the kernel's own numbers, as they stand now.
#pragma once

#include <map>

#include "hostcfg/folder_reader.hpp"
#include "launcher/metrics/vm_reading.hpp"
#include "launcher/state_dir.hpp"

namespace vmrig {

// Whether the pages of a process may be looked at one by one. That takes its memory's lock, and so
// waits for a QEMU that hangs in the kernel with it.
enum class PageWalk { kSkip, kWhereCheap };

// `root` is the host's /.
KernelReading read_kernel(const FolderReader& root, const VmEntry& entry, PageWalk walk);

// By CPU, in seconds; empty where the kernel does not tell. Source: proc_stat(5).
std::map<int, double> read_host_steal(const FolderReader& root);

}  // namespace vmrig
