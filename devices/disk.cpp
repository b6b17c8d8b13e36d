#include "devices/disk.hpp"

#include <fmt/format.h>

#include "devices/controllers.hpp"
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

// Short: with an id of 24 bytes a node name has room for 7 more.
std::string layer_name(const std::string& id, std::size_t number) {
  return fmt::format("{}-b{}", id, number);
}

// Block nodes of one disk; all of them use the host's cache as the disk does.
class NodeMaker {
 public:
  enum class Use { kRead, kWrite };

  NodeMaker(const DiskConfig& disk, const FdNaming& fds) : disk_(disk), fds_(fds) {}

  Json file(const ImageFile& image, std::string name, Use use) const {
    FdSource source{.kind = FdSource::Kind::kImage, .name = image.path};
    source.is_writable = use == Use::kWrite;
    source.is_direct = bypasses_host_cache(disk_.cache);
    Json node = {{"driver", image.is_block_device ? "host_device" : "file"},
                 {"node-name", std::move(name)},
                 {"filename", fds_(source)}};
    if (disk_.aio != DiskAio::kThreads) node["aio"] = name_of(disk_.aio);
    return node;
  }

  void set_cache(Json& node) const {
    if (bypasses_host_cache(disk_.cache)) node["cache"]["direct"] = true;
    if (disk_.cache == DiskCache::kUnsafe) node["cache"]["no-flush"] = true;
  }

  // The lowest first: each needs the one below it.
  std::vector<Backend> layers(const std::vector<ImageLayer>& backing) const {
    std::vector<Backend> nodes;
    for (std::size_t number = backing.size(); number > 0; --number) {
      const ImageLayer& layer = backing[number - 1];
      const std::string name = layer_name(disk_.id, number);
      Json format = {{"driver", layer.format}, {"node-name", name}, {"file", name + "f"}};
      if (number < backing.size()) format["backing"] = layer_name(disk_.id, number + 1);
      add(nodes, file(layer.file, name + "f", Use::kRead));
      if (layer.data) {
        format["data-file"] = name + "d";
        add(nodes, file(*layer.data, name + "d", Use::kRead));
      }
      add(nodes, std::move(format));
    }
    return nodes;
  }

 private:
  void add(std::vector<Backend>& nodes, Json node) const {
    set_cache(node);
    node["read-only"] = true;
    nodes.push_back({BackendKind::kBlockdev, std::move(node)});
  }

  const DiskConfig& disk_;
  const FdNaming& fds_;
};

}  // namespace

std::vector<std::string_view> enum_names(DiskFormat) {
  return {"raw", "qcow2", "vmdk", "vdi", "vhdx"};
}
std::vector<std::string_view> enum_names(DiskBus) { return {"virtio", "scsi"}; }
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
  fields.optional(
      "bus", "How the guest sees the disk: a virtio device, or a disk of a virtio SCSI controller.",
      disk.bus);
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
  fields.optional("throttle", "How fast QEMU lets the guest read and write.", disk.throttle);
  fields.optional("io_max", "How fast the kernel lets QEMU use the host's device below the image.",
                  disk.io_max);
  fields.not_built("overlay_of", nullptr);
  fields.not_built("ephemeral", false);
  fields.not_built("create", nullptr);
  fields.rule([&](const Fields::Fault& fault) {
    if (disk.aio == DiskAio::kNative && !bypasses_host_cache(disk.cache)) {
      fault("aio",
            "\"native\" needs a cache of \"none\" or \"directsync\" (it works on O_DIRECT files)",
            R"("cache": "none")");
    }
    if (disk.bus == DiskBus::kScsi) {
      constexpr const char* kWhy = "is for virtio disks; a SCSI disk shares its controller's";
      if (disk.iothread) fault("iothread", kWhy, R"("bus": "virtio")");
      if (disk.queues) fault("queues", kWhy, R"("bus": "virtio")");
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

std::vector<Backend> disk_backends(const DiskConfig& disk, const DiskFiles& files,
                                   const FdNaming& fds) {
  const NodeMaker nodes(disk, fds);
  std::vector<Backend> backends = nodes.layers(files.backing);
  const NodeMaker::Use use = disk.readonly ? NodeMaker::Use::kRead : NodeMaker::Use::kWrite;
  Json file = nodes.file({disk.path, files.is_block_device}, disk.id + "-file", use);
  Json format = {{"driver", name_of(effective_format(disk))},
                 {"node-name", disk.id + "-format"},
                 {"file", disk.id + "-file"}};
  if (!files.backing.empty()) format["backing"] = layer_name(disk.id, 1);
  if (files.data) {
    format["data-file"] = disk.id + "-data";
    Json data = nodes.file(*files.data, disk.id + "-data", use);
    nodes.set_cache(data);
    if (disk.readonly) data["read-only"] = true;
    backends.push_back({BackendKind::kBlockdev, std::move(data)});
  }
  // "-limit": with an id of 24 bytes a node name has room for no more.
  const std::string limit_name = disk.id + "-limit";
  Json limit = {{"driver", "throttle"},
                {"node-name", limit_name},
                {"throttle-group", limit_name},
                {"file", disk.id + "-format"}};
  // QEMU's own defaults are left out: it reads its monitor at 2 to 3 us a byte. The filter needs
  // the flags as well: each node looks at its own.
  for (Json* node : {&file, &format, &limit}) {
    nodes.set_cache(*node);
    if (disk.readonly) (*node)["read-only"] = true;
    if (disk.discard != DiskDiscard::kIgnore) (*node)["discard"] = name_of(disk.discard);
  }
  if (disk.throttle) {
    backends.push_back({BackendKind::kObject,
                        {{"qom-type", "throttle-group"},
                         {"id", limit_name},
                         {"limits", throttle_limits(*disk.throttle)}}});
  }
  backends.push_back({BackendKind::kBlockdev, std::move(file)});
  backends.push_back({BackendKind::kBlockdev, std::move(format)});
  if (disk.throttle) backends.push_back({BackendKind::kBlockdev, std::move(limit)});
  return backends;
}

DeviceDescription describe_disk(const DiskConfig& disk, std::string origin, int bootindex,
                                const DiskFiles& files, const FdNaming& fds) {
  const bool is_scsi = disk.bus == DiskBus::kScsi;
  Json device = {{"driver", is_scsi ? "scsi-hd" : "virtio-blk-pci"},
                 {"id", disk.id},
                 {"drive", disk.id + (disk.throttle ? "-limit" : "-format")}};
  if (!guest_sees_write_cache(disk.cache)) device["write-cache"] = "off";
  if (is_scsi) {
    device["bus"] = std::string(kScsiController) + ".0";
    // What the guest's /dev/disk/by-id is made of (VPD page 0x83).
    device["device_id"] = disk.id;
  }
  if (bootindex >= 0) device["bootindex"] = bootindex;
  if (disk.serial) device["serial"] = *disk.serial;
  if (disk.iothread) device["iothread"] = *disk.iothread;
  if (disk.queues) device["num-queues"] = *disk.queues;
  return {
      .id = disk.id,
      .origin = std::move(origin),
      .controller = is_scsi ? kScsiController : "",
      .backends = disk_backends(disk, files, fds),
      .front_ends = {{is_scsi ? FrontEnd::Bus::kOther : FrontEnd::Bus::kPci, std::move(device)}}};
}

}  // namespace vmrig
