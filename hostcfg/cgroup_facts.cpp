#include "hostcfg/cgroup_facts.hpp"

#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>

#include "hostcfg/base/fd.hpp"
#include "hostcfg/base/utf8.hpp"
#include "hostcfg/cgroup_action.hpp"
#include "hostcfg/cgroup_path.hpp"

namespace vmrig {
namespace {

constexpr std::size_t kLimit = std::size_t{64} * 1024;

bool is_writable(const FolderReader& folder) {
  const auto may_write = [&folder](const char* name) {
    return ::faccessat(folder.fd(), name, W_OK, AT_EACCESS) == 0;
  };
  return may_write(".") && may_write("cgroup.procs") && may_write("cgroup.subtree_control");
}

// Only the hierarchy's own root has no such file; a container's top group has.
bool is_hierarchy_root(const FolderReader& folder) { return !folder.exists("cgroup.type"); }

// Root may write everywhere; what is left to us, systemd says.
bool is_delegated(const FolderReader& folder) {
  if (::geteuid() != 0) return true;
  // The reader's own fd is but a path, which has no attributes to be read.
  const Fd opened(::openat(folder.fd(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (const char* name : {"trusted.delegate", "user.delegate"}) {
    char value = 0;
    if (::fgetxattr(opened.get(), name, &value, 1) == 1 && value == '1') return true;
  }
  return false;
}

std::vector<std::string> words_of(const FolderReader& folder, const char* file) {
  std::vector<std::string> list;
  const std::string content = folder.attribute(file).value_or(std::string{});
  std::string_view text = content;
  while (!(text = trimmed(text)).empty()) list.emplace_back(take_word(text));
  return list;
}

void choose_base(const FolderReader& root, const CgroupFolder& own, CgroupFacts& facts) {
  const std::string top_path = own.path.substr(0, own.top);
  if (!is_utf8(own.path)) {
    facts.why_not = "its name is no UTF-8, which the journal is in";
    return;
  }
  if (!is_cgroup_folder("/" + own.path)) {
    facts.why_not = "its path leads upwards or has a line break, which the journal refuses";
    return;
  }
  const auto own_folder = root.folder(own.path.c_str());
  const auto top = root.folder(top_path.c_str());
  if (!own_folder || !top) {
    facts.why_not = "its folder can't be read";
    return;
  }
  const bool top_is_root = is_hierarchy_root(*top);
  const bool is_at_top = own.path.size() == own.top;
  const bool is_ours = is_at_top ? !top_is_root : is_delegated(*own_folder);
  if (is_ours && is_writable(*own_folder)) {
    facts.base = "/" + own.path;
    facts.controllers = words_of(*own_folder, "cgroup.controllers");
  } else if (top_is_root && is_writable(*top)) {
    facts.base = "/" + top_path;
    facts.controllers = words_of(*top, "cgroup.controllers");
  } else {
    facts.why_not = "it is not delegated to this user, or is mounted read-only";
  }
}

}  // namespace

CgroupFacts read_cgroup_facts(const FolderReader& root, const std::vector<Mount>& mounts) {
  CgroupFacts facts;
  const CgroupMembership membership =
      parse_membership(root.text("proc/self/cgroup", kLimit).value_or(std::string{}));
  for (const Mount& mount : mounts) {
    if (mount.type == "cgroup") {
      for (const auto& [controller, path] : membership.v1) {
        if (controller.find('=') == std::string::npos &&
            has_option(mount.super_options, controller)) {
          facts.v1_controllers.push_back(controller);
        }
      }
    }
    if (mount.type != "cgroup2" || !membership.v2 || !facts.mount.empty()) continue;
    facts.mount = mount.point;
    CgroupFolder own = cgroup_folder(mount, *membership.v2);
    // There is where a VM that was started before from this group has put us all.
    if (own.path.ends_with("/" + std::string(kEvacuationGroup))) own.ascend();
    choose_base(root, own, facts);
  }
  std::sort(facts.v1_controllers.begin(), facts.v1_controllers.end());
  return facts;
}

}  // namespace vmrig
