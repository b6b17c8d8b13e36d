// What the kernel counts of a thread: where it ran, and how long it had to wait.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "hostcfg/folder_reader.hpp"

namespace vmrig {

struct ThreadUse {
  pid_t pid = -1;  // of its process
  pid_t tid = -1;
  std::string name;
  int last_cpu = -1;  // that it ran on
  bool is_kernel_thread = false;
  unsigned policy = 0;            // SCHED_OTHER, …
  unsigned priority = 0;          // real-time: 1 to 99
  std::uint64_t run_ns = 0;       // on a CPU; 0 when the kernel does not count it
  std::uint64_t wait_ns = 0;      // runnable, and not on a CPU
  std::uint64_t voluntary = 0;    // context switches: it had nothing to do
  std::uint64_t involuntary = 0;  // context switches: another took its CPU
};

// `root` is the host's /. nullopt when the thread is gone or not to be seen.
// Source: proc_pid_stat(5), linux Documentation/scheduler/sched-stats.rst ("schedstat").
std::optional<ThreadUse> read_thread_use(const FolderReader& root, pid_t pid, pid_t tid);

// The threads of a process, ascending by tid; empty when it is gone.
std::vector<pid_t> threads_of(const FolderReader& root, pid_t pid);

// All threads that this PID namespace sees, without their context switches, which take a read more.
std::vector<ThreadUse> read_all_thread_use(const FolderReader& root);

// "other", "fifo", "rr", "batch", "idle", "deadline"; the number when it is another.
std::string policy_name(unsigned policy);

// "other", "fifo 10".
std::string scheduling_text(const ThreadUse& use);

}  // namespace vmrig
