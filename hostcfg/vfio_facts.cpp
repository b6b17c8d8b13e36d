#include "hostcfg/vfio_facts.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <system_error>

namespace vmrig {
namespace {

constexpr std::size_t kMaxModulesDep = std::size_t{16} << 20;

DeviceFile read_device_node(const FolderReader& root, const char* name, bool is_served) {
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
  if (is_served) {
    const Fd opened(::openat(root.fd(), name, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    device.opens = static_cast<bool>(opened);
  } else {
    device.opens = ::faccessat(root.fd(), name, R_OK | W_OK, AT_EACCESS) == 0;
  }
  if (!device.opens) device.error = std::generic_category().message(errno);
  return device;
}

bool is_listed(const FolderReader& root, const std::string& release) {
  if (release.empty() || release.find('/') != std::string::npos) return false;
  const std::string folder = "lib/modules/" + release + "/";
  // The name is never a part of another's, and the file has one line a module.
  const auto has = [&](const char* file) {
    const auto list = root.text((folder + file).c_str(), kMaxModulesDep);
    return list && list->find("/vfio-pci.ko") != std::string::npos;
  };
  return has("modules.dep") || has("modules.builtin");
}

}  // namespace

VfioFacts read_vfio_facts(const FolderReader& root, const HostFacts& facts) {
  VfioFacts vfio;
  vfio.iommu = std::any_of(facts.pci.begin(), facts.pci.end(),
                           [](const PciDeviceFacts& device) { return device.iommu_group >= 0; });
  vfio.driver_present = root.exists("sys/bus/pci/drivers/vfio-pci");
  vfio.module_available = vfio.driver_present || is_listed(root, facts.kernel_release);
  vfio.container = read_device_node(root, "dev/vfio/vfio", root.exists("sys/class/misc/vfio"));
  vfio.noiommu = root.attribute("sys/module/vfio/parameters/enable_unsafe_noiommu_mode") == "Y";
  vfio.iommufd = read_device_node(root, "dev/iommu", root.exists("sys/class/misc/iommu"));
  // The class is registered together with the nodes. Source: linux drivers/vfio/device_cdev.c.
  vfio.cdev = root.exists("sys/class/vfio-dev") && root.exists("dev/vfio/devices");
  return vfio;
}

}  // namespace vmrig
