// What somebody without capabilities may do with a file. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "hostcfg/facts.hpp"

namespace vmrig {

// Who asks.
struct Account {
  unsigned uid = 0;
  unsigned gid = 0;
  std::vector<unsigned> groups;  // supplementary ones
  bool operator==(const Account&) const = default;
};

// Bits as in a mode, for one class.
inline constexpr unsigned kMayRead = 4;
inline constexpr unsigned kMayWrite = 2;
inline constexpr unsigned kMaySearch = 1;  // a folder; execute a file

// By the mode alone. With an ACL there may be more for users that it names, never less for others.
// Source: path_resolution(7).
bool may_access(const FileRights& rights, const Account& account, unsigned wanted);

// The folders on the way to the path that are closed to the account.
std::vector<ClosedFolder> folders_closed_to(const PathFacts& path, const Account& account);

// Whether the account gets to the file and may do that with it. True where nothing was told.
bool may_reach(const PathFacts& path, const Account& account, unsigned wanted);

}  // namespace vmrig
