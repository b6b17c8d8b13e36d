#include "hostcfg/access_lease.hpp"

#include <fmt/format.h>

#include <optional>
#include <string>

#include "hostcfg/file_access.hpp"
#include "hostcfg/host_refusal.hpp"

namespace vmrig {
namespace {

using Result = UndoLine::Result;

constexpr const char* kGrant = "give access to";

std::string path_of(AccessControl& access, const GrantAccess& action) {
  return action.pci ? access.vfio_group_node(*action.pci) : action.path;
}

// Beside what it has already.
unsigned wanted(const GrantAccess& action, const AccessOldState& old) {
  const unsigned bits = action.kind == GrantAccess::Kind::kUse ? kMayRead | kMayWrite : kMaySearch;
  return old.permissions.value_or(0) | bits;
}

}  // namespace

AccessOldState ReadOldAccess::operator()(const GrantAccess& action) const {
  AccessOldState old;
  const std::string path = path_of(access, action);
  const auto now = path.empty() ? std::nullopt : access.read(path, action.uid);
  if (!now) {
    if (action.comes_later) return old;
    throw host_refusal(kGrant, describe(action), "there is none");
  }
  old.path = path;
  old.survives_reboot = now->survives_reboot;
  old.permissions = now->permissions;
  if (now->has_acl) return old;
  old.by = AccessOldState::By::kOwner;
  old.owner = now->owner;
  return old;
}

AccessOldState ReadOldAccess::operator()(const MakeSocket& action) const {
  constexpr const char* kListen = "listen on";
  switch (access.socket_state(action.path)) {
    case SocketState::kListening:
      throw host_refusal(kListen, action.path, "somebody listens there already",
                         R"(another "socket", or "server": false)");
    case SocketState::kNoSocket:
      throw host_refusal(kListen, action.path, "it is there, and is no socket",
                         R"(another "socket")");
    case SocketState::kNothing:
    case SocketState::kDead:
      break;
  }
  AccessOldState old;
  old.path = action.path;
  old.survives_reboot = true;
  return old;
}

void DoAccess::operator()(const GrantAccess& action) const {
  const std::string path = old.path.empty() ? path_of(access, action) : old.path;
  const auto now = path.empty() ? std::nullopt : access.read(path, action.uid);
  if (!now) {
    if (action.comes_later) return;
    throw host_refusal(kGrant, describe(action), "it is gone");
  }
  if (old.by == AccessOldState::By::kOwner) return access.set_owner(path, action.uid);
  access.set_entry(path, action.uid, wanted(action, old));
}

// One that nobody serves any more stands in the way of who wants to.
void DoAccess::operator()(const MakeSocket& action) const {
  if (access.socket_state(action.path) == SocketState::kDead) access.remove_socket(action.path);
}

UndoLine UndoAccess::operator()(const GrantAccess& action) const {
  const std::string path = old.path.empty() ? action.path : old.path;
  if (rules.others_share && rules.others_share(action)) {
    return {action, Result::kLeft,
            fmt::format("{} stays open to user {}: another VM uses it", path, action.uid)};
  }
  const auto now = path.empty() ? std::nullopt : access.read(path, action.uid);
  if (!now) return {action, Result::kAsBefore, describe(action) + ": it is gone"};
  if (old.by == AccessOldState::By::kOwner) {
    if (now->owner == old.owner) {
      return {action, Result::kAsBefore, fmt::format("{} is user {}'s", path, old.owner)};
    }
    if (now->owner != action.uid) {
      return {action, Result::kLeft,
              fmt::format("{} is user {}'s by now: left as it is", path, now->owner)};
    }
    access.set_owner(path, old.owner);
    return {action, Result::kPutBack, fmt::format("{} is user {}'s again", path, old.owner)};
  }
  if (now->permissions == old.permissions || !now->permissions) {
    return {action, Result::kAsBefore, fmt::format("{} is not open to user {}", path, action.uid)};
  }
  if (*now->permissions != wanted(action, old)) {
    return {action, Result::kLeft,
            fmt::format("the entry of user {} in the ACL of {} was changed by somebody else: left "
                        "as it is",
                        action.uid, path)};
  }
  access.set_entry(path, action.uid, old.permissions);
  return {action, Result::kPutBack, fmt::format("{} is closed to user {}", path, action.uid)};
}

UndoLine UndoAccess::operator()(const MakeSocket& action) const {
  switch (access.socket_state(action.path)) {
    case SocketState::kNothing:
      return {action, Result::kAsBefore, action.path + " is gone"};
    case SocketState::kListening:
      return {action, Result::kLeft, action.path + " stays: somebody else listens there"};
    case SocketState::kNoSocket:
      return {action, Result::kLeft, action.path + " stays: it is no socket any more"};
    case SocketState::kDead:
      break;
  }
  access.remove_socket(action.path);
  return {action, Result::kPutBack, action.path + " is removed"};
}

}  // namespace vmrig
