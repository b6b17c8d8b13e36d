// Whether QEMU may do no more than it should. Pure.
#pragma once

#include <string>

#include "hostcfg/process_rights.hpp"
#include "launcher/qemu_user.hpp"

namespace vmrig {

struct PrivilegesVerdict {
  std::string expected;  // "uid 1900000123, no groups, no capabilities, no new privileges, …"
  std::string found;
  bool pass = false;
};

// Of a user who is vmrig's caller and not root, groups and the bounding set are no promise: only
// root could have put them away.
PrivilegesVerdict judge_privileges(const QemuUser& user, bool has_sandbox,
                                   const ProcessRights& rights);

}  // namespace vmrig
