#include "devices/memory_device.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "devices/ids.hpp"

namespace vmrig {
namespace {

// What QEMU gives and takes of a virtio-mem device at a time, at the least: a transparent
// hugepage of x86, or the backend's page (qemu hw/virtio/virtio-mem.c).
constexpr Bytes kVirtioMemBlock = Bytes::mib(2);

Bytes unit_of(const MemoryDeviceConfig& device) {
  const Bytes least = device.kind == MemoryDeviceKind::kDimm ? kDimmBlock : kVirtioMemBlock;
  return std::max(least, page_size_of(device.hugepages.value_or(HugepageSize::kNone)));
}

Bytes rounded_up(Bytes size, Bytes unit) {
  return {(size.value + unit.value - 1) / unit.value * unit.value};
}

}  // namespace

std::vector<std::string_view> enum_names(MemoryDeviceKind) { return {"dimm", "virtio-mem"}; }

void describe(Fields& fields, MemoryDeviceConfig& device) {
  const SizeRule size_rule{kVirtioMemBlock, Bytes::gib(std::uint64_t{64} << 10), kVirtioMemBlock};
  fields.required("id", "Name of the memory device in vmrig and QMP.", device.id, id_rule());
  fields.required("size", "Size of a DIMM; of a virtio-mem device the most that it can give.",
                  device.size, size_rule);
  fields.optional(
      "kind", "A DIMM, which comes and goes whole, or a virtio-mem device, which can be resized.",
      device.kind);
  fields.optional("requested", "What a virtio-mem device gives at first; all when not given.",
                  device.requested, SizeRule{{0}, size_rule.max, kVirtioMemBlock});
  fields.optional("hugepages",
                  "Size of the hugepages that hold it, or none; the VM's own when not given.",
                  device.hugepages);
  fields.optional("node", "Host NUMA node that it comes from; the VM's own when not given.",
                  device.node, IntRule{0, 1023});
  fields.rule([&](const Fields::Fault& fault) {
    const Bytes unit = unit_of(device);
    const auto need_multiple = [&](const char* key, Bytes size) {
      if (size.value % unit.value == 0) return;
      fault(key,
            fmt::format("{} is no multiple of {}, the unit of {}", to_string(size), to_string(unit),
                        device.kind == MemoryDeviceKind::kDimm ? "a DIMM" : "this device"),
            fmt::format("\"{}\": \"{}\"", key, to_string(rounded_up(size, unit))));
    };
    need_multiple("size", device.size);
    if (!device.requested) return;
    if (device.kind == MemoryDeviceKind::kDimm) {
      fault("requested", "is for virtio-mem; a DIMM comes whole", R"("kind": "virtio-mem")");
      return;
    }
    need_multiple("requested", *device.requested);
    if (*device.requested > device.size) {
      fault("requested",
            fmt::format("{} is more than the size of {}", to_string(*device.requested),
                        to_string(device.size)),
            fmt::format("\"size\": \"{}\"", to_string(*device.requested)));
    }
  });
}

DeviceDescription describe_memory_device(const MemoryDeviceConfig& device, MemoryBackend backend,
                                         std::string origin) {
  const bool is_dimm = device.kind == MemoryDeviceKind::kDimm;
  backend.id = device.id + "-mem";
  backend.size = device.size;
  if (!is_dimm) backend.prealloc = false;
  Json front_end = {{"id", device.id}, {"memdev", backend.id}, {"node", 0}};
  if (is_dimm) {
    front_end["driver"] = "pc-dimm";
  } else {
    front_end["driver"] = "virtio-mem-pci";
    front_end["requested-size"] = device.requested.value_or(device.size).value;
  }
  DeviceDescription description = describe_memory(backend, std::move(origin));
  description.id = device.id;
  description.front_ends = {
      {is_dimm ? FrontEnd::Bus::kOther : FrontEnd::Bus::kPci, std::move(front_end)}};
  return description;
}

}  // namespace vmrig
