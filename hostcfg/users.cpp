#include "hostcfg/users.hpp"

#include <grp.h>
#include <pwd.h>
#include <sys/types.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "hostcfg/folder_reader.hpp"

namespace vmrig {
namespace {

constexpr std::size_t kMostBytes = std::size_t{1} << 20;
constexpr int kMostGroups = 65536;  // linux NGROUPS_MAX

struct Entry {
  std::string name;
  uid_t uid = 0;
  gid_t gid = 0;
};

template <typename Look>
std::optional<Entry> look_up(Look look) {
  for (std::vector<char> buffer(4096); buffer.size() <= kMostBytes;
       buffer.resize(buffer.size() * 2)) {
    passwd entry{};
    passwd* found = nullptr;
    const int fault = look(&entry, buffer.data(), buffer.size(), &found);
    if (fault == ERANGE || fault == EINTR) continue;
    if (fault != 0 || found == nullptr) return std::nullopt;
    return Entry{.name = entry.pw_name, .uid = entry.pw_uid, .gid = entry.pw_gid};
  }
  return std::nullopt;
}

std::vector<unsigned> groups_of(const Entry& entry) {
  for (int count = 64; count <= kMostGroups; count *= 2) {
    std::vector<gid_t> groups(static_cast<std::size_t>(count));
    int got = count;
    if (::getgrouplist(entry.name.c_str(), entry.gid, groups.data(), &got) < 0) continue;
    groups.resize(static_cast<std::size_t>(got));
    std::sort(groups.begin(), groups.end());
    return {groups.begin(), groups.end()};
  }
  return {entry.gid};
}

}  // namespace

std::optional<UserFacts> read_user(const std::string& name) {
  std::optional<Entry> entry =
      look_up([&name](auto... rest) { return ::getpwnam_r(name.c_str(), rest...); });
  const auto number = parse_number<unsigned>(name);
  if (!entry && number) {
    entry = look_up([&number](auto... rest) { return ::getpwuid_r(*number, rest...); });
    if (!entry) return UserFacts{.uid = *number, .gid = *number, .groups = {*number}};
  }
  if (!entry) return std::nullopt;
  return UserFacts{.uid = entry->uid, .gid = entry->gid, .groups = groups_of(*entry)};
}

}  // namespace vmrig
