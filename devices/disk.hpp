// A disk: an image file or block device, and the controller that shows it to the guest.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "devices/description.hpp"
#include "devices/disk_files.hpp"
#include "devices/disk_limits.hpp"
#include "hostcfg/base/shape.hpp"

namespace vmrig {

enum class DiskFormat { kRaw, kQcow2, kVmdk, kVdi, kVhdx };
enum class DiskBus { kVirtio, kScsi };
enum class DiskCache { kWriteback, kNone, kWritethrough, kDirectsync, kUnsafe };
enum class DiskAio { kThreads, kNative, kIoUring };
enum class DiskDiscard { kUnmap, kIgnore };

std::vector<std::string_view> enum_names(DiskFormat);
std::vector<std::string_view> enum_names(DiskBus);
std::vector<std::string_view> enum_names(DiskCache);
std::vector<std::string_view> enum_names(DiskAio);
std::vector<std::string_view> enum_names(DiskDiscard);

struct DiskConfig {
  std::string id;
  std::string path;                  // absolute once the config is loaded
  std::optional<DiskFormat> format;  // by the file's name when not given; never by its content
  DiskBus bus = DiskBus::kVirtio;
  DiskCache cache = DiskCache::kWriteback;
  DiskAio aio = DiskAio::kThreads;
  DiskDiscard discard = DiskDiscard::kUnmap;
  bool readonly = false;
  std::optional<std::string> serial;    // what the guest reads as the disk's serial number
  std::optional<std::string> iothread;  // id
  std::optional<int> queues;            // virtio queues; QEMU's default: one a vCPU
  std::optional<DiskThrottle> throttle;
  std::optional<DiskIoMax> io_max;
};

void describe(Fields& fields, DiskConfig& disk);

// The format that is used: the given one, or qcow2 and its like by the file name's ending, else
// raw. A guest can write any header into a raw image, so that the content is no witness.
DiskFormat effective_format(const DiskConfig& disk);

// The block nodes "ID-file" and "ID-format", before them those of what the image stands on
// ("ID-b1f" and "ID-b1", …), and where it is throttled its throttle group and the node "ID-limit",
// in the order of creation.
std::vector<Backend> disk_backends(const DiskConfig& disk, const DiskFiles& files,
                                   const FdNaming& fds);

// `bootindex`: place in the boot order from 0, or -1 for none. A SCSI disk needs
// kScsiController.
DeviceDescription describe_disk(const DiskConfig& disk, std::string origin, int bootindex,
                                const DiskFiles& files, const FdNaming& fds);

}  // namespace vmrig
