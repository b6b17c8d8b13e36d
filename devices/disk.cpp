#include "devices/disk.hpp"

#include "devices/ids.hpp"

namespace vmrig {
namespace {

bool ends_with(const std::string& text, std::string_view ending) {
  return text.size() >= ending.size() &&
         text.compare(text.size() - ending.size(), ending.size(), ending) == 0;
}

std::string why_bad_serial(const std::string& serial) {
  for (char c : serial) {
    if (c < 0x21 || c > 0x7e) return "is no serial number; printable ASCII without spaces";
  }
  return {};
}

bool bypasses_host_cache(DiskCache cache) {
  return cache == DiskCache::kNone || cache == DiskCache::kDirectsync;
}

// BLOCKDEV_OPT_NO_FLUSH and the front end's write-cache are what QEMU's classic names stand
// for (qemu docs, "cache=" of -drive).
bool guest_sees_write_cache(DiskCache cache) {
  return cache != DiskCache::kWritethrough && cache != DiskCache::kDirectsync;
}

}  // namespace

std::vector<std::string_view> enum_names(DiskFormat) {
  return {"raw", "qcow2", "vmdk", "vdi", "vhdx"};
}
std::vector<std::string_view> enum_names(DiskBus) { return {"virtio"}; }
std::vector<std::string_view> enum_names(DiskCache) {
  return {"writeback", "none", "writethrough", "directsync", "unsafe"};
}
std::vector<std::string_view> enum_names(DiskAio) { return {"threads", "native", "io_uring"}; }
std::vector<std::string_view> enum_names(DiskDiscard) { return {"unmap", "ignore"}; }

void describe(Fields& fields, DiskConfig& disk) {
  fields.required("id", "Name of the disk in vmrig and QMP.", disk.id, id_rule());
  fields.required("path",
                  "Image file or block device; a relative path is relative to the config's folder.",
                  disk.path, path_rule());
  fields.optional("format",
                  "Image format; by the file's name when not given, never by its content.",
                  disk.format);
  fields.optional("bus", "How the guest sees the disk.", disk.bus);
  fields.optional("cache", "Use of the host's page cache and flushes, in QEMU's classic names.",
                  disk.cache);
  fields.optional("aio", "How QEMU does I/O: a thread pool, Linux AIO or io_uring.", disk.aio);
  fields.optional("discard", "Whether the guest's discards free space in the image.", disk.discard);
  fields.optional("readonly", "The guest can't write.", disk.readonly);
  fields.optional("serial", "Serial number that the guest reads.", disk.serial,
                  TextRule{.min_length = 1,
                           .max_length = 20,
                           .pattern = "^[!-~]+$",
                           .meaning = "printable ASCII",
                           .check = why_bad_serial});
  fields.optional("iothread", "Id of the iothread that serves this disk.", disk.iothread,
                  id_rule(12));
  fields.optional("queues", "Number of virtio queues; one a vCPU when not given.", disk.queues,
                  IntRule{1, 1024});
  fields.not_built("overlay_of", nullptr);
  fields.not_built("ephemeral", false);
  fields.not_built("create", nullptr);
  fields.rule([&](const Fields::Fault& fault) {
    if (disk.aio == DiskAio::kNative && !bypasses_host_cache(disk.cache)) {
      fault("aio",
            "\"native\" needs a cache of \"none\" or \"directsync\" (it works on O_DIRECT files)",
            R"("cache": "none")");
    }
  });
}

DiskFormat effective_format(const DiskConfig& disk) {
  if (disk.format) return *disk.format;
  if (ends_with(disk.path, ".qcow2") || ends_with(disk.path, ".qcow")) return DiskFormat::kQcow2;
  if (ends_with(disk.path, ".vmdk")) return DiskFormat::kVmdk;
  if (ends_with(disk.path, ".vdi")) return DiskFormat::kVdi;
  if (ends_with(disk.path, ".vhdx")) return DiskFormat::kVhdx;
  return DiskFormat::kRaw;
}

DeviceDescription describe_disk(const DiskConfig& disk, std::string origin, int bootindex,
                                bool is_block_device) {
  const Json cache = {{"direct", bypasses_host_cache(disk.cache)},
                      {"no-flush", disk.cache == DiskCache::kUnsafe}};
  Json file = {{"driver", is_block_device ? "host_device" : "file"},
               {"node-name", disk.id + "-file"},
               {"filename", disk.path},
               {"aio", name_of(disk.aio)},
               {"cache", cache},
               {"read-only", disk.readonly},
               {"discard", name_of(disk.discard)}};
  Json format = {{"driver", name_of(effective_format(disk))},
                 {"node-name", disk.id + "-format"},
                 {"file", disk.id + "-file"},
                 {"cache", cache},
                 {"read-only", disk.readonly},
                 {"discard", name_of(disk.discard)}};
  Json device = {{"driver", "virtio-blk-pci"},
                 {"id", disk.id},
                 {"drive", disk.id + "-format"},
                 {"write-cache", guest_sees_write_cache(disk.cache) ? "on" : "off"}};
  if (bootindex >= 0) device["bootindex"] = bootindex;
  if (disk.serial) device["serial"] = *disk.serial;
  if (disk.iothread) device["iothread"] = *disk.iothread;
  if (disk.queues) device["num-queues"] = *disk.queues;
  return {.id = disk.id,
          .origin = std::move(origin),
          .backends = {{BackendKind::kBlockdev, std::move(file)},
                       {BackendKind::kBlockdev, std::move(format)}},
          .front_ends = {{FrontEnd::Bus::kPci, std::move(device)}}};
}

}  // namespace vmrig
