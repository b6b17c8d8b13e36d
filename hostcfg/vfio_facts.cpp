#include "hostcfg/vfio_facts.hpp"

#include <algorithm>
#include <string>

#include "hostcfg/device_node.hpp"

namespace vmrig {
namespace {

constexpr std::size_t kMaxModulesDep = std::size_t{16} << 20;

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

// Opening a node whose module is not loaded would load it, and facts change nothing.
NodeProbe probe_of(const FolderReader& root, const char* served_by) {
  return root.exists(served_by) ? NodeProbe::kOpen : NodeProbe::kAskForAccess;
}

}  // namespace

VfioFacts read_vfio_facts(const FolderReader& root, const HostFacts& facts) {
  VfioFacts vfio;
  vfio.iommu = std::any_of(facts.pci.begin(), facts.pci.end(),
                           [](const PciDeviceFacts& device) { return device.iommu_group >= 0; });
  vfio.driver_present = root.exists("sys/bus/pci/drivers/vfio-pci");
  vfio.module_available = vfio.driver_present || is_listed(root, facts.kernel_release);
  vfio.container = read_device_node(root, "dev/vfio/vfio", probe_of(root, "sys/class/misc/vfio"));
  vfio.noiommu = root.attribute("sys/module/vfio/parameters/enable_unsafe_noiommu_mode") == "Y";
  vfio.iommufd = read_device_node(root, "dev/iommu", probe_of(root, "sys/class/misc/iommu"));
  // The class is registered together with the nodes. Source: linux drivers/vfio/device_cdev.c.
  vfio.cdev = root.exists("sys/class/vfio-dev") && root.exists("dev/vfio/devices");
  return vfio;
}

}  // namespace vmrig
