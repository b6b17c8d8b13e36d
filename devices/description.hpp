// What a device is, said once as QMP objects. The command line and the hotplug sequence are two
// renderings of it.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "hostcfg/base/json.hpp"

namespace vmrig {

enum class BackendKind { kObject, kBlockdev, kNetdev, kChardev };

// The arguments of object-add (flat), blockdev-add, netdev_add or chardev-add.
struct Backend {
  BackendKind kind;
  Json props;
};

// The arguments of device_add: "driver", "id" and the properties. A PCI function gets its "bus"
// (and on pcie.0 its "addr") from the plan, which knows what is free.
struct FrontEnd {
  enum class Bus { kPci, kOther };
  Bus bus;
  Json props;
};

// Where a file descriptor that QEMU inherits comes from.
struct FdSource {
  enum class Kind {
    kListeningSocket,
    kIommufd,     // /dev/iommu
    kVfioDevice,  // the node in /dev/vfio/devices of the device on vfio-pci
  };
  Kind kind;
  std::string name;  // the socket's file in the VM's folder; the device's PCI address
  bool operator==(const FdSource&) const = default;
};

struct DeviceDescription {
  std::string id;
  std::string origin;             // config path: "disks[0]"
  std::vector<Backend> backends;  // in the order of creation; removed in reverse
  std::vector<FrontEnd> front_ends;
};

// Gives the name by which a device's properties refer to an fd: a number at start ("10"), a
// getfd name at run time.
using FdNaming = std::function<std::string(const FdSource&)>;

}  // namespace vmrig
