#include "hostcfg/device_node.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace vmrig {

DeviceFile read_device_node(const FolderReader& root, const char* name, NodeProbe probe) {
  DeviceFile device;
  struct stat status {};
  if (::fstatat(root.fd(), name, &status, 0) < 0) {
    device.exists = errno != ENOENT && errno != ENOTDIR;
    device.error = std::generic_category().message(errno);
    return device;
  }
  device.exists = true;
  if (!S_ISCHR(status.st_mode)) {
    device.error = "it is not a character device";
    return device;
  }
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
