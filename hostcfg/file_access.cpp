#include "hostcfg/file_access.hpp"

#include <algorithm>
#include <iterator>

namespace vmrig {
namespace {

constexpr unsigned kBitsOfClass = 3;

bool is_in(unsigned group, const Account& account) {
  return account.gid == group ||
         std::find(account.groups.begin(), account.groups.end(), group) != account.groups.end();
}

}  // namespace

bool may_access(const FileRights& rights, const Account& account, unsigned wanted) {
  unsigned shift = 0;
  if (rights.uid == account.uid) {
    shift = 2 * kBitsOfClass;
  } else if (is_in(rights.gid, account)) {
    shift = kBitsOfClass;
  }
  return ((rights.mode >> shift) & wanted) == wanted;
}

std::vector<ClosedFolder> folders_closed_to(const PathFacts& path, const Account& account) {
  std::vector<ClosedFolder> closed;
  std::copy_if(path.closed.begin(), path.closed.end(), std::back_inserter(closed),
               [&account](const ClosedFolder& folder) {
                 return !may_access(folder.rights, account, kMaySearch);
               });
  return closed;
}

bool may_reach(const PathFacts& path, const Account& account, unsigned wanted) {
  if (!folders_closed_to(path, account).empty()) return false;
  return !path.rights || may_access(*path.rights, account, wanted);
}

}  // namespace vmrig
