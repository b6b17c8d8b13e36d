// Starts a program with exactly the fds, signal state and CPUs that it is to have.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "hostcfg/base/cpu_set.hpp"
#include "hostcfg/base/fd.hpp"
#include "launcher/drop_privileges.hpp"
#include "launcher/process.hpp"

namespace vmrig {

struct SpawnRequest {
  // `source` is borrowed and stays open in the parent.
  struct PassedFd {
    int number = -1;  // in the child, from 3
    int source = -1;
  };
  enum class Group { kOwnGroup, kOwnSession };
  enum class MemoryLock { kAsIs, kUnlimited };  // RLIMIT_MEMLOCK; raising it takes CAP_SYS_RESOURCE
  enum class ParentDeath { kSurvive, kKill };   // kKill: SIGKILL when the calling thread ends

  std::vector<std::string> argv;  // argv[0] is the path of the program; PATH is not searched
  std::vector<PassedFd> fds;
  int input = -1;  // stdin; -1 is /dev/null
  int output = -1;
  int error_output = -1;
  Group group = Group::kOwnGroup;
  ParentDeath parent_death = ParentDeath::kSurvive;
  MemoryLock memory_lock = MemoryLock::kAsIs;
  CpuSet cpus;              // affinity from before exec; empty: as the parent's
  std::string cgroup = {};  // folder of a cgroup (v2), entered before exec; empty: the parent's
  std::optional<Privileges> privileges = {};  // what it keeps; none: all that the parent has
  // A file (borrowed) that gets the child's /proc/PID/stat before exec: the program is not executed
  // without it, nor when the parent has died before it was written. -1: none.
  int record = -1;
};

struct Child {
  ProcessIdentity identity;
  Fd pidfd;
};

// Starts the program and returns once it is executed. The child has the fds named and no others,
// default SIGPIPE, an empty signal mask, and the parent's environment. Dropping the Child neither
// kills nor reaps it. Throws vmrig::Error with errno's text when it can't be executed (status
// kHost); no zombie is left then. Not to be called while other threads run.
Child spawn(const SpawnRequest& request);

}  // namespace vmrig
