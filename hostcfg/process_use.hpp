// What the kernel counts of a process without a walk of its pages.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>

#include "hostcfg/base/bytes.hpp"
#include "hostcfg/folder_reader.hpp"

namespace vmrig {

struct ProcessUse {
  std::chrono::nanoseconds user{0};    // CPU time of all its threads, ended ones too; a vCPU's time
  std::chrono::nanoseconds system{0};  // in the guest is among the user's
  Bytes anonymous;                     // resident, by kind
  Bytes file;
  Bytes shared;   // memfd and tmpfs
  Bytes hugetlb;  // not among the resident
  Bytes swapped;
  Bytes locked;  // VmLck

  // What it holds of the host's memory.
  Bytes resident() const { return anonymous + file + shared + hugetlb; }
};

// `root` is the host's /. nullopt when the process is gone. Never waits for the process: these
// numbers need none of its locks. Source: proc_pid_stat(5), proc_pid_status(5).
std::optional<ProcessUse> read_process_use(const FolderReader& root, pid_t pid);

}  // namespace vmrig
