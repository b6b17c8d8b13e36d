#include "launcher/drop_privileges.hpp"

#include <cap-ng.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace vmrig {
namespace {

constexpr mode_t kOwnerAlone = 0077;

bool set_limit(__rlimit_resource resource, rlim_t most) {
  const rlimit limit{.rlim_cur = most, .rlim_max = most};
  return ::setrlimit(resource, &limit) == 0;
}

bool limit(const Privileges& privileges) {
  ::umask(kOwnerAlone);
  return set_limit(RLIMIT_CORE, 0) &&
         (!privileges.max_tasks || set_limit(RLIMIT_NPROC, *privileges.max_tasks));
}

bool become(const Privileges::Ids& ids) {
  return ::setgroups(ids.groups.size(), ids.groups.data()) == 0 &&
         ::setresgid(ids.gid, ids.gid, ids.gid) == 0 && ::setresuid(ids.uid, ids.uid, ids.uid) == 0;
}

// libcap-ng tells no reason.
bool is_applied(int result) {
  if (result == 0) return true;
  if (errno == 0) errno = EPERM;
  return false;
}

// Before the bounding set is empty: nothing can be inherited that is not in it.
bool inherit_ipc_lock() {
  capng_update(CAPNG_ADD, CAPNG_INHERITABLE, CAP_IPC_LOCK);
  errno = 0;
  return is_applied(capng_apply(CAPNG_SELECT_CAPS));
}

// Takes CAP_SETPCAP, which only root has; without it there is nothing that the set would give.
bool empty_bounding_set() {
  if (capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP) == 0) return true;
  capng_clear(CAPNG_SELECT_BOUNDS);
  errno = 0;
  return is_applied(capng_apply(CAPNG_SELECT_BOUNDS));
}

// An ambient one lasts beyond exec, whoever the user is.
bool clear(bool keeps_ipc_lock) {
  capng_clear(CAPNG_SELECT_CAPS);
  if (keeps_ipc_lock) {
    constexpr auto kSets =
        static_cast<capng_type_t>(CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_INHERITABLE);
    capng_update(CAPNG_ADD, kSets, CAP_IPC_LOCK);
  }
  errno = 0;
  if (!is_applied(capng_apply(CAPNG_SELECT_CAPS))) return false;
  if (!keeps_ipc_lock) return true;
  capng_update(CAPNG_ADD, CAPNG_AMBIENT, CAP_IPC_LOCK);
  return is_applied(capng_apply(CAPNG_SELECT_AMBIENT));
}

}  // namespace

DropFault drop_privileges(const Privileges& privileges) {
  if (!limit(privileges)) return DropFault::kLimits;
  errno = 0;
  if (!is_applied(capng_get_caps_process())) return DropFault::kCapabilities;
  const bool keeps_ipc_lock =
      privileges.keeps_ipc_lock && capng_have_capability(CAPNG_PERMITTED, CAP_IPC_LOCK) != 0;
  if (keeps_ipc_lock && !inherit_ipc_lock()) return DropFault::kCapabilities;
  if (!empty_bounding_set()) return DropFault::kCapabilities;
  // The permitted capabilities would be gone with the user.
  if (keeps_ipc_lock && ::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) return DropFault::kCapabilities;
  if (privileges.ids && !become(*privileges.ids)) return DropFault::kUser;
  if (!clear(keeps_ipc_lock)) return DropFault::kCapabilities;
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return DropFault::kNewPrivileges;
  return DropFault::kNone;
}

}  // namespace vmrig
