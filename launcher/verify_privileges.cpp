#include "launcher/verify_privileges.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace vmrig {
namespace {

constexpr std::uint64_t kIpcLock = std::uint64_t{1} << 14;  // CAP_IPC_LOCK
constexpr int kFilter = 2;                                  // proc_pid_status(5), Seccomp

std::string ids_text(const char* name, const std::vector<unsigned>& ids) {
  if (ids.empty()) return fmt::format("no {}", name);
  const bool is_one =
      std::all_of(ids.begin(), ids.end(), [&ids](unsigned id) { return id == ids.front(); });
  return is_one ? fmt::format("{} {}", name, ids.front())
                : fmt::format("{} {}", name, fmt::join(ids, "/"));
}

std::string groups_text(std::vector<unsigned> groups, unsigned own) {
  std::erase(groups, own);
  std::sort(groups.begin(), groups.end());
  return groups.empty() ? "no groups" : fmt::format("groups {}", fmt::join(groups, ","));
}

std::string capabilities_text(std::uint64_t capabilities) {
  if (capabilities == 0) return "no capabilities";
  if (capabilities == kIpcLock) return "CAP_IPC_LOCK alone";
  return fmt::format("capabilities {:#x}", capabilities);
}

}  // namespace

PrivilegesVerdict judge_privileges(const QemuUser& user, bool has_sandbox,
                                   const ProcessRights& rights) {
  const unsigned gid = rights.gids.empty() ? 0 : rights.gids.front();
  const auto text = [&](const std::string& ids, const std::string& groups,
                        std::uint64_t capabilities, bool is_barred) {
    return fmt::format("{}{}, {}, {}", ids, user.is_confined ? ", " + groups : "",
                       capabilities_text(capabilities),
                       is_barred ? "no new privileges" : "new privileges");
  };
  std::string ids = fmt::format("uid {}", user.account.uid);
  std::string found_ids = ids_text("uid", rights.uids);
  if (user.is_confined) {
    ids += fmt::format(", gid {}", user.account.gid);
    found_ids += ", " + ids_text("gid", rights.gids);
  }
  PrivilegesVerdict verdict;
  verdict.expected = text(ids, groups_text(user.account.groups, user.account.gid),
                          user.keeps_ipc_lock ? kIpcLock : 0, true);
  verdict.found = text(found_ids, groups_text(rights.groups, gid),
                       rights.effective | rights.permitted, rights.no_new_privileges);
  if (user.is_confined && rights.bounding != 0) {
    verdict.found += fmt::format(", bounding set {:#x}", rights.bounding);
  }
  verdict.pass = verdict.found == verdict.expected && (!has_sandbox || rights.seccomp == kFilter);
  verdict.expected += has_sandbox ? ", seccomp filter" : ", any seccomp";
  verdict.found +=
      rights.seccomp == kFilter ? ", seccomp filter" : fmt::format(", seccomp {}", rights.seccomp);
  return verdict;
}

}  // namespace vmrig
