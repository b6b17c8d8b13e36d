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
    kTapQueue,
    kMacvtapQueue,
    kVhostNet,  // /dev/vhost-net, one for each queue
    kPasst,     // a connection to a passt of the NIC's own
    kMemory,    // a file of hugepages that vmrig has populated
    kImage,     // a file or block device of a disk
    kLogFile,   // what a serial port prints; made when it is not there
    kKvm,       // /dev/kvm
    kCopy,      // a copy in memory of a file that QEMU's user can't read
  };
  Kind kind;
  // The socket's file in the VM's folder; the device's PCI address; the tap or macvtap; the NIC's
  // id; the memory backend's id; else a path.
  std::string name;
  int queue = 0;  // of a tap, a macvtap or vhost-net
  // Of an image: QEMU takes none that is open in another way than it asks for.
  bool is_writable = false;
  bool is_direct = false;  // past the host's page cache
  bool operator==(const FdSource&) const = default;
};

struct DeviceDescription {
  std::string id;
  std::string origin;             // config path: "disks[0]"
  std::string controller;         // id of a shared controller that has to be there first, or none
  std::vector<Backend> backends;  // in the order of creation; removed in reverse
  std::vector<FrontEnd> front_ends;
};

// Gives the name by which a device's properties refer to an fd: a number at start ("10"), a
// getfd name at run time. Of what QEMU opens by a path it is a path: the file's own where QEMU may
// open it itself, else one that leads to an fd ("/dev/fdset/10", "/proc/self/fd/10").
using FdNaming = std::function<std::string(const FdSource&)>;

}  // namespace vmrig
