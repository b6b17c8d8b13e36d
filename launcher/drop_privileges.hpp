// What a child gives up between fork and exec.
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <optional>
#include <vector>

namespace vmrig {

struct Privileges {
  struct Ids {
    uid_t uid = 0;
    gid_t gid = 0;
    std::vector<gid_t> groups;  // supplementary ones
  };
  std::optional<Ids> ids;           // none: as the parent
  bool keeps_ipc_lock = false;      // CAP_IPC_LOCK, if the parent has it
  std::optional<rlim_t> max_tasks;  // RLIMIT_NPROC: of all processes of its uid
};

// The step that failed; errno says why.
enum class DropFault { kNone, kLimits, kUser, kCapabilities, kNewPrivileges };

// For a process of one thread, shortly before it is executed anew: no core dumps, a umask of 0077,
// these ids, an empty bounding set where the caller may empty it, no capabilities but that one, and
// no way to more.
// Source: capabilities(7), linux Documentation/userspace-api/no_new_privs.rst, capng_apply(3).
DropFault drop_privileges(const Privileges& privileges);

}  // namespace vmrig
