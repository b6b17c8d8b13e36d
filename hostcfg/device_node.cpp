#include "hostcfg/device_node.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>

#include "hostcfg/posix_acl.hpp"

namespace vmrig {
namespace {

constexpr unsigned kModeBits = 07777;

bool has_acls(const FolderReader& root, const char* name) {
  const Fd node(::openat(root.fd(), name, O_PATH | O_CLOEXEC));
  if (!node) return false;
  const std::string link = fmt::format("/proc/self/fd/{}", node.get());
  return ::getxattr(link.c_str(), kAclAttribute, nullptr, 0) >= 0 || errno == ENODATA;
}

}  // namespace

DeviceFile read_device_node(const FolderReader& root, const char* name, NodeProbe probe) {
  DeviceFile device;
  struct stat status {};
  if (::fstatat(root.fd(), name, &status, 0) < 0) {
    device.exists = errno != ENOENT && errno != ENOTDIR;
    device.error = std::generic_category().message(errno);
    return device;
  }
  device.exists = true;
  device.rights =
      FileRights{.uid = status.st_uid, .gid = status.st_gid, .mode = status.st_mode & kModeBits};
  if (!S_ISCHR(status.st_mode)) {
    device.error = "it is not a character device";
    return device;
  }
  device.has_acl = has_acls(root, name);
  if (probe == NodeProbe::kOpen) {
    const Fd opened(::openat(root.fd(), name, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    device.opens = static_cast<bool>(opened);
  } else {
    device.opens = ::faccessat(root.fd(), name, R_OK | W_OK, AT_EACCESS) == 0;
  }
  if (!device.opens) device.error = std::generic_category().message(errno);
  return device;
}

}  // namespace vmrig
