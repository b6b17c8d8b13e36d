// Memory that comes and goes while the guest runs: a DIMM, or a virtio-mem device.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "devices/description.hpp"
#include "devices/memory.hpp"
#include "hostcfg/base/bytes.hpp"
#include "hostcfg/base/shape.hpp"

namespace vmrig {

enum class MemoryDeviceKind { kDimm, kVirtioMem };
std::vector<std::string_view> enum_names(MemoryDeviceKind);

// Linux takes hot-added memory in blocks of 128 MiB and refuses a DIMM that is none
// (linux Documentation/admin-guide/mm/memory-hotplug.rst; arch/x86 MIN_MEMORY_BLOCK_SIZE).
inline constexpr Bytes kDimmBlock = Bytes::mib(128);

struct MemoryDeviceConfig {
  std::string id;
  Bytes size;  // of a virtio-mem device: the most that it can give
  MemoryDeviceKind kind = MemoryDeviceKind::kDimm;
  std::optional<Bytes> requested;         // of a virtio-mem device: what it gives at first; all
  std::optional<HugepageSize> hugepages;  // as the VM's own memory when not given
  std::optional<int> node;                // host NUMA node; as the VM's own memory when not given
};

void describe(Fields& fields, MemoryDeviceConfig& device);

// `backend` says where the memory comes from; its id and size are replaced: "ID-mem" and the
// device's. A virtio-mem device populates what it gives by itself, so that its backend is never
// preallocated (newer QEMUs refuse that). Needs a VM with "max" memory, a DIMM a free slot too.
DeviceDescription describe_memory_device(const MemoryDeviceConfig& device, MemoryBackend backend,
                                         std::string origin);

}  // namespace vmrig
