// HostFacts to JSON and back. What stands at its default in a device (no driver, no VF) is
// left out; every other key has to be there.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <utility>

#include "hostcfg/base/error.hpp"
#include "hostcfg/cgroup_action.hpp"
#include "hostcfg/facts.hpp"
#include "hostcfg/facts_reader.hpp"

namespace vmrig {
namespace {

constexpr int kMaxNode = 4095;      // linux NODES_SHIFT is 10 on x86-64, 12 at most
constexpr int kMaxIndex = 1 << 20;  // cores, packages, caches, IOMMU groups
constexpr int kMaxVfs = 65535;      // a 16-bit field in PCIe's SR-IOV capability
constexpr int kMaxVlanId = 4094;
constexpr std::uint64_t kMaxUid = 0xfffffffe;
constexpr unsigned kMaxUid32 = 0xffffffff;  // so many there are
constexpr int kMaxInt = std::numeric_limits<int>::max();
constexpr std::uint64_t kMaxPages = std::uint64_t{1} << 52;
constexpr std::uint64_t kMaxCount = std::numeric_limits<std::int64_t>::max();

constexpr std::array<std::string_view, 7> kNetKinds = {"physical", "bridge",   "tap",    "macvtap",
                                                       "wireless", "loopback", "virtual"};

// The kernel's names are bytes. What is not UTF-8 becomes U+FFFD here, because JSON can't hold it,
// and so does NUL, which no name has.
Json text(std::string bytes) {
  const bool ascii = std::all_of(bytes.begin(), bytes.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x80 && c != '\0';
  });
  if (ascii) return bytes;
  std::replace(bytes.begin(), bytes.end(), '\0', '\xff');
  return Json::parse(Json(bytes).dump(-1, ' ', false, Json::error_handler_t::replace));
}

Json texts(const std::vector<std::string>& list) {
  Json json = Json::array();
  for (const std::string& bytes : list) json.push_back(text(bytes));
  return json;
}

// ---- to JSON ----

Json to_json(const CpuFacts& cpu) {
  return {{"id", cpu.id},
          {"core", cpu.core},
          {"package", cpu.package},
          {"node", cpu.node},
          {"l3", cpu.l3}};
}

Json to_json(const NumaNode& node) {
  Json pools = Json::array();
  for (const HugepagePool& pool : node.hugepages) {
    pools.push_back(
        {{"page_size", to_string(pool.page_size)}, {"total", pool.total}, {"free", pool.free}});
  }
  Json distances = Json::object();
  for (const auto& [to, distance] : node.distances) distances[std::to_string(to)] = distance;
  return {{"id", node.id},
          {"cpus", node.cpus.to_string()},
          {"memory_total", to_string(node.memory_total)},
          {"memory_free", to_string(node.memory_free)},
          {"hugepages", std::move(pools)},
          {"distances", std::move(distances)}};
}

Json to_json(const VfRecord& record) {
  Json json = {{"index", record.index},
               {"mac", text(record.mac)},
               {"vlan", record.vlan},
               {"qos", record.qos},
               {"vlan_proto", text(record.vlan_proto)},
               {"link_state", text(record.link_state)},
               {"min_rate_mbit", record.min_rate_mbit},
               {"max_rate_mbit", record.max_rate_mbit}};
  if (record.trust) json["trust"] = *record.trust;
  if (record.spoofchk) json["spoofchk"] = *record.spoofchk;
  return json;
}

Json to_json(const DeviceFile& file) {
  Json json = {{"exists", file.exists}, {"opens", file.opens}, {"error", text(file.error)}};
  if (file.rights) {
    json["uid"] = file.rights->uid;
    json["gid"] = file.rights->gid;
    json["mode"] = fmt::format("{:04o}", file.rights->mode);
  }
  if (file.has_acl) json["has_acl"] = file.has_acl;
  return json;
}

Json to_json(const VfioFacts& vfio) {
  return {{"iommu", vfio.iommu},
          {"driver_present", vfio.driver_present},
          {"module_available", vfio.module_available},
          {"container", to_json(vfio.container)},
          {"noiommu", vfio.noiommu},
          {"iommufd", to_json(vfio.iommufd)},
          {"cdev", vfio.cdev}};
}

Json to_json(const PciDeviceFacts& device) {
  Json json = {{"address", device.address.to_string()},
               {"vendor", fmt::format("{:04x}", device.vendor)},
               {"device", fmt::format("{:04x}", device.device)},
               {"class", fmt::format("{:06x}", device.class_code)}};
  if (device.subsystem_vendor != 0 || device.subsystem_device != 0) {
    json["subsystem_vendor"] = fmt::format("{:04x}", device.subsystem_vendor);
    json["subsystem_device"] = fmt::format("{:04x}", device.subsystem_device);
  }
  if (device.revision != 0) json["revision"] = fmt::format("{:02x}", device.revision);
  if (!device.driver.empty()) json["driver"] = text(device.driver);
  if (!device.driver_override.empty()) json["driver_override"] = text(device.driver_override);
  for (const std::string& method : device.reset_methods) {
    json["reset_methods"].push_back(text(method));
  }
  if (device.boot_vga) json["boot_vga"] = device.boot_vga;
  if (!device.vfio_device.empty()) json["vfio_device"] = text(device.vfio_device);
  for (const std::string& use : device.in_use) json["in_use"].push_back(text(use));
  if (device.numa_node >= 0) json["numa_node"] = device.numa_node;
  if (device.iommu_group >= 0) json["iommu_group"] = device.iommu_group;
  if (device.physical_function) {
    json["physical_function"] = device.physical_function->to_string();
  }
  if (device.vf_index >= 0) json["vf_index"] = device.vf_index;
  if (device.total_vfs > 0) json["total_vfs"] = device.total_vfs;
  if (device.num_vfs > 0) json["num_vfs"] = device.num_vfs;
  if (device.vf_offset > 0) json["vf_offset"] = device.vf_offset;
  if (device.vf_stride > 0) json["vf_stride"] = device.vf_stride;
  for (const VfRecord& record : device.vf_records) json["vf_records"].push_back(to_json(record));
  for (const std::string& name : device.net_devices) json["net_devices"].push_back(text(name));
  return json;
}

Json to_json(const NetDeviceFacts& device) {
  Json json = {{"name", text(device.name)}, {"index", device.index}, {"mac", text(device.mac)},
               {"mtu", device.mtu},         {"up", device.up},       {"carrier", device.carrier},
               {"kind", text(device.kind)}};
  if (device.pci) json["pci"] = device.pci->to_string();
  if (device.numa_node >= 0) json["numa_node"] = device.numa_node;
  if (!device.master.empty()) json["master"] = text(device.master);
  for (const std::string& upper : device.uppers) json["uppers"].push_back(text(upper));
  if (!device.link_kind.empty()) json["link_kind"] = text(device.link_kind);
  if (!device.lower.empty()) json["lower"] = text(device.lower);
  if (!device.mode.empty()) json["mode"] = text(device.mode);
  if (device.vlan_id > 0) json["vlan_id"] = device.vlan_id;
  if (device.vlan_filtering) json["vlan_filtering"] = device.vlan_filtering;
  for (const std::string& address : device.addresses) json["addresses"].push_back(text(address));
  if (device.max_mtu > 0) json["max_mtu"] = device.max_mtu;
  if (device.made_by_vmrig) json["made_by_vmrig"] = device.made_by_vmrig;
  if (device.multi_queue) json["multi_queue"] = device.multi_queue;
  if (device.vnet_hdr) json["vnet_hdr"] = device.vnet_hdr;
  if (device.owner_uid) json["owner_uid"] = *device.owner_uid;
  return json;
}

// ---- from JSON ----

CpuFacts read_cpu(FactsReader reader) {
  CpuFacts cpu;
  cpu.id = reader.integer("id", 0, CpuSet::kMaxCpus - 1);
  cpu.core = reader.integer("core", -1, kMaxIndex);
  cpu.package = reader.integer("package", -1, kMaxIndex);
  cpu.node = reader.integer("node", -1, kMaxNode);
  cpu.l3 = reader.integer("l3", -1, kMaxIndex);
  reader.finish();
  return cpu;
}

HugepagePool read_pool(FactsReader reader) {
  HugepagePool pool;
  pool.page_size = reader.bytes("page_size");
  pool.total = reader.count("total", kMaxPages);
  pool.free = reader.count("free", kMaxPages);
  if (pool.page_size.value == 0) reader.refuse("page_size", "a page has a size");
  if (pool.free > pool.total) reader.refuse("free", "more pages are free than there are");
  reader.finish();
  return pool;
}

NumaNode read_node(FactsReader reader) {
  NumaNode node;
  node.id = reader.integer("id", 0, kMaxNode);
  node.cpus = reader.cpus("cpus");
  node.memory_total = reader.bytes("memory_total");
  node.memory_free = reader.bytes("memory_free");
  if (node.memory_free > node.memory_total) {
    reader.refuse("memory_free", "more memory is free than there is");
  }
  for (FactsReader& pool : reader.array("hugepages")) {
    node.hugepages.push_back(read_pool(std::move(pool)));
  }
  node.distances = reader.distances("distances", kMaxNode);
  reader.finish();
  return node;
}

VfRecord read_vf_record(FactsReader reader) {
  constexpr int kMaxVlan = 4095;
  constexpr int kMaxQos = 7;
  VfRecord record;
  record.index = reader.integer("index", 0, kMaxVfs - 1);
  record.mac = reader.string("mac");
  record.vlan = reader.integer("vlan", 0, kMaxVlan);
  record.qos = reader.integer("qos", 0, kMaxQos);
  record.vlan_proto = reader.string("vlan_proto");
  record.link_state = reader.string("link_state");
  record.min_rate_mbit = reader.integer("min_rate_mbit", 0, kMaxInt);
  record.max_rate_mbit = reader.integer("max_rate_mbit", 0, kMaxInt);
  if (reader.has("trust")) record.trust = reader.boolean("trust");
  if (reader.has("spoofchk")) record.spoofchk = reader.boolean("spoofchk");
  reader.finish();
  return record;
}

void read_pci_identity(FactsReader& reader, PciDeviceFacts& device) {
  const auto word = [&reader](const char* key) {
    return static_cast<std::uint16_t>(reader.hexadecimal(key, 4));
  };
  device.address = reader.pci_address("address");
  device.vendor = word("vendor");
  device.device = word("device");
  if (reader.has("subsystem_vendor")) device.subsystem_vendor = word("subsystem_vendor");
  if (reader.has("subsystem_device")) device.subsystem_device = word("subsystem_device");
  if (reader.has("revision")) {
    device.revision = static_cast<std::uint8_t>(reader.hexadecimal("revision", 2));
  }
  device.class_code = reader.hexadecimal("class", 6);
}

PciDeviceFacts read_pci(FactsReader reader) {
  PciDeviceFacts device;
  read_pci_identity(reader, device);
  if (reader.has("driver")) device.driver = reader.string("driver");
  if (reader.has("driver_override")) device.driver_override = reader.string("driver_override");
  if (reader.has("reset_methods")) device.reset_methods = reader.strings("reset_methods");
  if (reader.has("boot_vga")) device.boot_vga = reader.boolean("boot_vga");
  if (reader.has("vfio_device")) device.vfio_device = reader.string("vfio_device");
  if (reader.has("in_use")) device.in_use = reader.strings("in_use");
  if (reader.has("numa_node")) device.numa_node = reader.integer("numa_node", 0, kMaxNode);
  if (reader.has("iommu_group")) {
    device.iommu_group = reader.integer("iommu_group", 0, kMaxIndex);
  }
  if (reader.has("physical_function")) {
    device.physical_function = reader.pci_address("physical_function");
  }
  if (reader.has("vf_index")) {
    device.vf_index = reader.integer("vf_index", 0, kMaxVfs - 1);
    if (!device.physical_function) reader.refuse("vf_index", "it needs a physical_function");
  }
  if (reader.has("total_vfs")) device.total_vfs = reader.integer("total_vfs", 1, kMaxVfs);
  if (reader.has("vf_offset")) device.vf_offset = reader.integer("vf_offset", 1, kMaxVfs);
  if (reader.has("vf_stride")) device.vf_stride = reader.integer("vf_stride", 1, kMaxVfs);
  if (reader.has("num_vfs")) {
    device.num_vfs = reader.integer("num_vfs", 1, kMaxVfs);
    if (device.num_vfs > device.total_vfs) reader.refuse("num_vfs", "it is above total_vfs");
  }
  if (reader.has("vf_records")) {
    for (FactsReader& record : reader.array("vf_records")) {
      device.vf_records.push_back(read_vf_record(std::move(record)));
    }
  }
  if (reader.has("net_devices")) device.net_devices = reader.strings("net_devices");
  reader.finish();
  return device;
}

NetDeviceFacts read_net(FactsReader reader) {
  NetDeviceFacts device;
  device.name = reader.string("name");
  device.index = reader.integer("index", 1, kMaxInt);
  device.mac = reader.string("mac");
  device.mtu = reader.integer("mtu", 0, kMaxInt);
  device.up = reader.boolean("up");
  device.carrier = reader.boolean("carrier");
  device.kind = reader.string("kind");
  if (std::find(kNetKinds.begin(), kNetKinds.end(), device.kind) == kNetKinds.end()) {
    reader.refuse("kind", quote(device.kind) + " is not a kind of network device");
  }
  if (reader.has("pci")) device.pci = reader.pci_address("pci");
  if (reader.has("numa_node")) device.numa_node = reader.integer("numa_node", 0, kMaxNode);
  if (reader.has("master")) device.master = reader.string("master");
  if (reader.has("uppers")) device.uppers = reader.strings("uppers");
  if (reader.has("link_kind")) device.link_kind = reader.string("link_kind");
  if (reader.has("lower")) device.lower = reader.string("lower");
  if (reader.has("mode")) device.mode = reader.string("mode");
  if (reader.has("vlan_id")) device.vlan_id = reader.integer("vlan_id", 1, kMaxVlanId);
  if (reader.has("vlan_filtering")) device.vlan_filtering = reader.boolean("vlan_filtering");
  if (reader.has("addresses")) device.addresses = reader.strings("addresses");
  if (reader.has("max_mtu")) device.max_mtu = reader.integer("max_mtu", 1, kMaxInt);
  if (reader.has("made_by_vmrig")) device.made_by_vmrig = reader.boolean("made_by_vmrig");
  if (reader.has("multi_queue")) device.multi_queue = reader.boolean("multi_queue");
  if (reader.has("vnet_hdr")) device.vnet_hdr = reader.boolean("vnet_hdr");
  if (reader.has("owner_uid")) {
    device.owner_uid = static_cast<unsigned>(reader.count("owner_uid", kMaxUid));
  }
  reader.finish();
  return device;
}

HugetlbfsMount read_mount(FactsReader reader) {
  HugetlbfsMount mount;
  mount.path = reader.string("path");
  mount.page_size = reader.bytes("page_size");
  reader.finish();
  return mount;
}

// Four octal digits.
unsigned read_mode(FactsReader& reader, const char* key) {
  const std::string text = reader.string(key);
  unsigned mode = 0;
  for (const char digit : text) {
    if (text.size() != 4 || digit < '0' || digit > '7') {
      reader.refuse(key, quote(text) + " is no mode in four octal digits");
    }
    mode = mode * 8 + static_cast<unsigned>(digit - '0');
  }
  return mode;
}

DeviceFile read_device_file(FactsReader reader) {
  DeviceFile file;
  file.exists = reader.boolean("exists");
  file.opens = reader.boolean("opens");
  file.error = reader.string("error");
  if (file.opens && !file.exists) reader.refuse("opens", "what does not exist can't be opened");
  // Snapshots from before these were read have none of them.
  if (reader.has("mode")) {
    file.rights = FileRights{.uid = static_cast<unsigned>(reader.count("uid", kMaxUid)),
                             .gid = static_cast<unsigned>(reader.count("gid", kMaxUid)),
                             .mode = read_mode(reader, "mode")};
  }
  if (reader.has("has_acl")) file.has_acl = reader.boolean("has_acl");
  reader.finish();
  return file;
}

VfioFacts read_vfio(FactsReader reader) {
  VfioFacts vfio;
  vfio.iommu = reader.boolean("iommu");
  vfio.driver_present = reader.boolean("driver_present");
  vfio.module_available = reader.boolean("module_available");
  vfio.container = read_device_file(reader.object("container"));
  vfio.noiommu = reader.boolean("noiommu");
  vfio.iommufd = read_device_file(reader.object("iommufd"));
  vfio.cdev = reader.boolean("cdev");
  reader.finish();
  return vfio;
}

void read_processors(FactsReader& reader, HostFacts& facts) {
  for (FactsReader& node : reader.array("nodes")) {
    FactsReader place = node;
    facts.nodes.push_back(read_node(std::move(node)));
    const int id = facts.nodes.back().id;
    if (facts.find_node(id) != &facts.nodes.back()) place.refuse("id", "two nodes have this id");
  }
  facts.present = reader.cpus("present");
  for (FactsReader& cpu : reader.array("cpus")) {
    FactsReader place = cpu;
    const int before = facts.cpus.empty() ? -1 : facts.cpus.back().id;
    facts.cpus.push_back(read_cpu(std::move(cpu)));
    const CpuFacts& read = facts.cpus.back();
    if (read.id <= before) place.refuse("id", "the CPUs are not in ascending order");
    if (!facts.present.contains(read.id)) place.refuse("id", "the CPU is not in \"present\"");
    if (read.node >= 0 && facts.find_node(read.node) == nullptr) {
      place.refuse("node", "there is no such node in \"nodes\"");
    }
  }
  facts.allowed = reader.cpus("allowed");
  facts.affinity = reader.cpus("affinity");
  facts.isolated = reader.cpus("isolated");
  facts.nohz_full = reader.cpus("nohz_full");
  facts.allowed_nodes = reader.cpus("allowed_nodes");
}

IdRange read_ids(FactsReader reader) {
  IdRange range;
  range.first = static_cast<unsigned>(reader.count("first", kMaxUid));
  range.count = static_cast<unsigned>(reader.count("count", kMaxUid32));
  if (std::uint64_t{range.first} + range.count > kMaxUid32) {
    reader.refuse("count", "there are no such ids");
  }
  reader.finish();
  return range;
}

void read_process(FactsReader& reader, HostFacts& facts) {
  facts.memlock_limit = reader.bytes_or_unlimited("memlock_limit");
  facts.nofile_limit = reader.count("nofile_limit", kMaxCount);
  facts.user_id =
      static_cast<unsigned>(reader.count("user_id", std::numeric_limits<std::uint32_t>::max()));
  facts.can_net_admin = reader.boolean("can_net_admin");
  facts.can_sys_admin = reader.boolean("can_sys_admin");
  facts.can_ipc_lock = reader.boolean("can_ipc_lock");
  facts.can_sys_resource = reader.boolean("can_sys_resource");
  // Snapshots from before these were read have none of them: root had them, mostly.
  const bool is_root = facts.user_id == 0;
  const auto has_right = [&reader, is_root](const char* key) {
    return reader.has(key) ? reader.boolean(key) : is_root;
  };
  facts.can_change_ids = has_right("can_change_ids");
  facts.can_kill = has_right("can_kill");
  facts.can_sys_ptrace = has_right("can_sys_ptrace");
  if (reader.has("ids")) {
    for (FactsReader& range : reader.array("ids")) facts.ids.push_back(read_ids(std::move(range)));
  } else {
    facts.ids = {{.first = 0, .count = kMaxUid32}};
  }
  // Nor of these.
  if (reader.has("can_sys_nice")) facts.can_sys_nice = reader.boolean("can_sys_nice");
  if (reader.has("rtprio_limit")) facts.rtprio_limit = reader.integer("rtprio_limit", 0, 99);
  if (reader.has("rt_runtime_us")) {
    facts.rt_runtime_us = reader.integer("rt_runtime_us", -1, kMaxInt);
  }
  if (reader.has("rt_period_us")) facts.rt_period_us = reader.integer("rt_period_us", 1, kMaxInt);
}

Json to_json(const CgroupFacts& cgroup) {
  return {{"mount", text(cgroup.mount)},
          {"base", text(cgroup.base)},
          {"why_not", text(cgroup.why_not)},
          {"controllers", texts(cgroup.controllers)},
          {"v1_controllers", texts(cgroup.v1_controllers)}};
}

CgroupFacts read_cgroup(FactsReader reader) {
  CgroupFacts cgroup;
  cgroup.mount = reader.string("mount");
  cgroup.base = reader.string("base");
  if (!cgroup.base.empty() && !is_cgroup_folder(cgroup.base)) {
    reader.refuse("base", quote(cgroup.base) + " is no cgroup's folder");
  }
  cgroup.why_not = reader.string("why_not");
  cgroup.controllers = reader.strings("controllers");
  cgroup.v1_controllers = reader.strings("v1_controllers");
  reader.finish();
  return cgroup;
}

Json to_json(const MemoryLimits& limits) {
  Json pages = Json::array();
  for (const auto& [size, limit] : limits.hugepages) {
    pages.push_back({{"page_size", to_string(size)}, {"limit", to_string(limit)}});
  }
  Json json = {{"hugepages", std::move(pages)}};
  if (limits.memory) json["memory"] = to_string(*limits.memory);
  return json;
}

MemoryLimits read_memory_limits(FactsReader reader) {
  MemoryLimits limits;
  if (reader.has("memory")) limits.memory = reader.bytes("memory");
  for (FactsReader& pages : reader.array("hugepages")) {
    const Bytes size = pages.bytes("page_size");
    limits.hugepages[size] = pages.bytes("limit");
    pages.finish();
  }
  reader.finish();
  return limits;
}

Json to_json(const UsbDeviceFacts& device) {
  Json json = {{"bus", device.bus},
               {"address", device.address},
               {"vendor", fmt::format("{:04x}", device.vendor)},
               {"product", fmt::format("{:04x}", device.product)},
               {"node", to_json(device.node)}};
  if (!device.name.empty()) json["name"] = text(device.name);
  return json;
}

UsbDeviceFacts read_usb(FactsReader reader) {
  constexpr int kMaxAddress = 127;  // seven bits on the wire
  UsbDeviceFacts device;
  device.bus = reader.integer("bus", 1, kMaxInt);
  device.address = reader.integer("address", 1, kMaxAddress);
  device.vendor = static_cast<std::uint16_t>(reader.hexadecimal("vendor", 4));
  device.product = static_cast<std::uint16_t>(reader.hexadecimal("product", 4));
  device.node = read_device_file(reader.object("node"));
  if (reader.has("name")) device.name = reader.string("name");
  reader.finish();
  return device;
}

}  // namespace

Json to_json(const HostFacts& facts) {
  Json json = {{"format", HostFacts::kFormat},
               {"kernel_release", text(facts.kernel_release)},
               {"boot_id", text(facts.boot_id)},
               {"present", facts.present.to_string()},
               {"allowed", facts.allowed.to_string()},
               {"affinity", facts.affinity.to_string()},
               {"isolated", facts.isolated.to_string()},
               {"nohz_full", facts.nohz_full.to_string()},
               {"allowed_nodes", facts.allowed_nodes.to_string()},
               {"cpu_vendor", text(facts.cpu_vendor)},
               {"cpu_model", text(facts.cpu_model)},
               {"vmx", facts.vmx},
               {"svm", facts.svm},
               {"pdpe1gb", facts.pdpe1gb},
               {"hypervisor", facts.hypervisor},
               {"kvm", to_json(facts.kvm)},
               {"vfio", to_json(facts.vfio)},
               {"memlock_limit",
                facts.memlock_limit ? to_string(*facts.memlock_limit) : std::string("unlimited")},
               {"nofile_limit", facts.nofile_limit},
               {"user_id", facts.user_id},
               {"can_net_admin", facts.can_net_admin},
               {"can_sys_admin", facts.can_sys_admin},
               {"can_ipc_lock", facts.can_ipc_lock},
               {"can_sys_resource", facts.can_sys_resource}};
  json["can_change_ids"] = facts.can_change_ids;
  json["can_kill"] = facts.can_kill;
  json["can_sys_ptrace"] = facts.can_sys_ptrace;
  json["ids"] = Json::array();
  for (const IdRange& range : facts.ids) {
    json["ids"].push_back({{"first", range.first}, {"count", range.count}});
  }
  // Snapshots from before these were read have none of them.
  if (facts.tun.told()) json["tun"] = to_json(facts.tun);
  if (facts.vhost_net.told()) json["vhost_net"] = to_json(facts.vhost_net);
  if (facts.vhost_net_available) json["vhost_net_available"] = facts.vhost_net_available;
  if (facts.cgroup != CgroupFacts{}) json["cgroup"] = to_json(facts.cgroup);
  if (facts.memory_limits != MemoryLimits{}) json["memory_limits"] = to_json(facts.memory_limits);
  if (facts.can_sys_nice) json["can_sys_nice"] = facts.can_sys_nice;
  if (facts.rtprio_limit > 0) json["rtprio_limit"] = facts.rtprio_limit;
  if (facts.rt_runtime_us) json["rt_runtime_us"] = *facts.rt_runtime_us;
  if (facts.rt_period_us) json["rt_period_us"] = *facts.rt_period_us;
  for (const char* list : {"kernel_parameters", "cpus", "nodes", "hugetlbfs", "pci", "net"}) {
    json[list] = Json::array();
  }
  for (const std::string& parameter : facts.kernel_parameters) {
    json["kernel_parameters"].push_back(text(parameter));
  }
  for (const CpuFacts& cpu : facts.cpus) json["cpus"].push_back(to_json(cpu));
  for (const NumaNode& node : facts.nodes) json["nodes"].push_back(to_json(node));
  for (const HugetlbfsMount& mount : facts.hugetlbfs) {
    json["hugetlbfs"].push_back(
        {{"path", text(mount.path)}, {"page_size", to_string(mount.page_size)}});
  }
  for (const PciDeviceFacts& device : facts.pci) json["pci"].push_back(to_json(device));
  for (const NetDeviceFacts& device : facts.net) json["net"].push_back(to_json(device));
  for (const UsbDeviceFacts& device : facts.usb) json["usb"].push_back(to_json(device));
  return json;
}

HostFacts facts_from_json(const Json& json) {
  FactsReader reader(json);
  const int format = reader.integer("format", 0, kMaxInt);
  if (format != HostFacts::kFormat) {
    reader.refuse("format", fmt::format("it is {}; this program reads format {}", format,
                                        HostFacts::kFormat));
  }
  HostFacts facts;
  facts.kernel_release = reader.string("kernel_release");
  facts.boot_id = reader.string("boot_id");
  facts.kernel_parameters = reader.strings("kernel_parameters");
  read_processors(reader, facts);
  facts.cpu_vendor = reader.string("cpu_vendor");
  facts.cpu_model = reader.string("cpu_model");
  facts.vmx = reader.boolean("vmx");
  facts.svm = reader.boolean("svm");
  facts.pdpe1gb = reader.boolean("pdpe1gb");
  facts.hypervisor = reader.boolean("hypervisor");
  facts.kvm = read_device_file(reader.object("kvm"));
  if (reader.has("tun")) facts.tun = read_device_file(reader.object("tun"));
  if (reader.has("vhost_net")) facts.vhost_net = read_device_file(reader.object("vhost_net"));
  if (reader.has("vhost_net_available")) {
    facts.vhost_net_available = reader.boolean("vhost_net_available");
  }
  facts.vfio = read_vfio(reader.object("vfio"));
  if (reader.has("cgroup")) facts.cgroup = read_cgroup(reader.object("cgroup"));
  if (reader.has("memory_limits")) {
    facts.memory_limits = read_memory_limits(reader.object("memory_limits"));
  }
  read_process(reader, facts);
  for (FactsReader& mount : reader.array("hugetlbfs")) {
    facts.hugetlbfs.push_back(read_mount(std::move(mount)));
  }
  std::set<PciAddress> addresses;
  for (FactsReader& device : reader.array("pci")) {
    FactsReader place = device;
    facts.pci.push_back(read_pci(std::move(device)));
    if (!addresses.insert(facts.pci.back().address).second) {
      place.refuse("address", "two devices have this address");
    }
  }
  for (FactsReader& device : reader.array("net")) {
    facts.net.push_back(read_net(std::move(device)));
  }
  // Left out where there are none.
  if (reader.has("usb")) {
    for (FactsReader& device : reader.array("usb")) {
      facts.usb.push_back(read_usb(std::move(device)));
    }
  }
  reader.finish();
  return facts;
}

}  // namespace vmrig
