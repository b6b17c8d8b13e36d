// How fast a disk may be: as QEMU holds the guest back, and as the kernel holds QEMU back.
#pragma once

#include <optional>
#include <string>

#include "devices/description.hpp"
#include "hostcfg/base/bytes.hpp"
#include "hostcfg/base/shape.hpp"

namespace vmrig {

// By QEMU, for what the guest asks of this disk. Rates a second; "iops" and "bps" are of reads and
// writes together, and exclude those of each. A "max" is what may be reached for a second after a
// time of less. Source: qemu docs/throttle.txt.
struct DiskThrottle {
  std::optional<int> iops = {};
  std::optional<int> iops_read = {};
  std::optional<int> iops_write = {};
  std::optional<Bytes> bps = {};
  std::optional<Bytes> bps_read = {};
  std::optional<Bytes> bps_write = {};
  std::optional<int> iops_max = {};
  std::optional<int> iops_read_max = {};
  std::optional<int> iops_write_max = {};
  std::optional<Bytes> bps_max = {};
  std::optional<Bytes> bps_read_max = {};
  std::optional<Bytes> bps_write_max = {};
};

void describe(Fields& fields, DiskThrottle& throttle);

// The throttle group's limits, as QMP's ThrottleLimits.
Json throttle_limits(const DiskThrottle& throttle);

// "4MiB a second, 100 reads a second".
std::string describe_throttle(const DiskThrottle& throttle);

// By the kernel, for what QEMU asks of the host's device below the image (cgroup v2, io.max). Rates
// a second.
struct DiskIoMax {
  std::optional<Bytes> read_bps = {};
  std::optional<Bytes> write_bps = {};
  std::optional<int> read_iops = {};
  std::optional<int> write_iops = {};
};

void describe(Fields& fields, DiskIoMax& io_max);

}  // namespace vmrig
