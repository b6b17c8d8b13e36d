#include "launcher/child_fds.hpp"

#include <fcntl.h>

#include <cerrno>
#include <string>
#include <vector>

#include "hostcfg/base/error.hpp"
#include "hostcfg/files.hpp"

namespace vmrig {
namespace {

constexpr int kSocketBacklog = 4;  // room for a new supervisor while QEMU serves the old one

Fd open_device(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (fd) return fd;
  Error::Parts parts = system_error("open", path, errno).parts();
  parts.status = ExitStatus::kHost;
  throw Error(std::move(parts));
}

// The kernel numbers the nodes as devices come to their driver.
// Source: linux Documentation/driver-api/vfio.rst, "IOMMUFD and VFIO" (6.6).
Fd open_vfio_device(const std::string& address) {
  const std::string folder = "/sys/bus/pci/devices/" + address + "/vfio-dev";
  const std::vector<std::string> names = list_folder(folder);
  if (names.empty()) {
    throw Error({.status = ExitStatus::kHost,
                 .operation = "find the VFIO node of",
                 .object = address,
                 .cause = folder + " is empty",
                 .mend = {}});
  }
  return open_device("/dev/vfio/devices/" + names.front());
}

}  // namespace

Fd open_child_fd(const VmFolder& folder, const FdSource& source) {
  switch (source.kind) {
    case FdSource::Kind::kListeningSocket:
      break;
    case FdSource::Kind::kIommufd:
      return open_device("/dev/iommu");
    case FdSource::Kind::kVfioDevice:
      return open_vfio_device(source.name);
  }
  return folder.listen(source.name, kSocketBacklog);
}

}  // namespace vmrig
