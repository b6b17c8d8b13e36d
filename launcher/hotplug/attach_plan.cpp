#include "launcher/hotplug/attach_plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "devices/channel.hpp"
#include "devices/disk.hpp"
#include "devices/memory_device.hpp"
#include "devices/nic.hpp"
#include "devices/rng.hpp"
#include "devices/usb.hpp"
#include "hostcfg/base/error.hpp"
#include "hostcfg/base/nearest.hpp"
#include "hostcfg/base/shape_writer.hpp"
#include "launcher/access_plan.hpp"
#include "launcher/config/load_config.hpp"
#include "launcher/hotplug/sequence.hpp"
#include "launcher/image_chain.hpp"
#include "launcher/limits.hpp"
#include "launcher/memory_plan.hpp"
#include "launcher/network.hpp"
#include "launcher/page_plan.hpp"
#include "launcher/passthrough.hpp"
#include "launcher/placement.hpp"
#include "launcher/preflight.hpp"
#include "launcher/usb.hpp"

namespace vmrig {
namespace {

constexpr int kNotBootedFrom = -1;

struct KindEntry {
  DeviceKind kind;
  std::string_view name;
  const char* list;  // JSON pointer of the list in the config
  std::string_view path;
};

constexpr std::array kKinds = {
    KindEntry{DeviceKind::kDisk, "disk", "/disks", "disks"},
    KindEntry{DeviceKind::kNic, "nic", "/nics", "nics"},
    KindEntry{DeviceKind::kVfio, "vfio", "/vfio", "vfio"},
    KindEntry{DeviceKind::kUsb, "usb", "/usb", "usb"},
    KindEntry{DeviceKind::kMemory, "memory", "/memory/devices", "memory.devices"},
    KindEntry{DeviceKind::kRng, "rng", "/rngs", "rngs"},
    KindEntry{DeviceKind::kChannel, "channel", "/channels", "channels"}};

const KindEntry& entry_of(DeviceKind kind) {
  return *std::find_if(kKinds.begin(), kKinds.end(),
                       [kind](const KindEntry& entry) { return entry.kind == kind; });
}

// "disks[2].path" as the one who attaches a disk knows it: "disk.path".
void rename_paths(std::vector<Diagnostic>& faults, const KindEntry& kind, std::size_t index) {
  const std::string list_path = fmt::format("{}[{}]", kind.path, index);
  for (Diagnostic& fault : faults) {
    if (fault.path.starts_with(list_path)) {
      fault.path = std::string(kind.name) + fault.path.substr(list_path.size());
    }
  }
}

// What each kind of device has for a list.
template <class Vm, class Use>
void for_each_list(Vm& vm, const Use& use) {
  use(DeviceKind::kDisk, vm.disks);
  use(DeviceKind::kNic, vm.nics);
  use(DeviceKind::kVfio, vm.vfio);
  use(DeviceKind::kUsb, vm.usb);
  use(DeviceKind::kMemory, vm.memory.devices);
  use(DeviceKind::kRng, vm.rngs);
  use(DeviceKind::kChannel, vm.channels);
}

VmConfig only_last(const VmConfig& config, DeviceKind kind) {
  VmConfig alone = config;
  alone.boot = BootConfig();
  alone.serial.clear();
  for_each_list(alone, [kind](DeviceKind each, auto& list) {
    list.erase(list.begin(), each == kind ? std::prev(list.end()) : list.end());
  });
  return alone;
}

Json device_json(const VmConfig& alone, DeviceKind kind) {
  Json json;
  for_each_list(alone, [kind, &json](DeviceKind each, const auto& list) {
    if (each != kind) return;
    auto device = list.front();
    json = write_shape([&device](Shape& shape) { visit(shape, device); });
  });
  return json;
}

// Hotplugged, so booted from by no firmware that has run already.
DeviceDescription describe_passed_device(const VmConfig& config, const std::string& id,
                                         const PciAddress& address, const FdNaming& fds) {
  VfioFrontEnd front_end{.id = id,
                         .origin = "attach",
                         .address = address,
                         .access = VfioAccess::kGroup,
                         .rombar = {},
                         .romfile = "",
                         .bootindex = kNotBootedFrom};
  for (const VfioConfig& vfio : config.vfio) {
    if (vfio.id != id) continue;
    front_end.rombar = vfio.rombar;
    front_end.romfile = vfio.romfile;
    front_end.properties = vfio.properties;
  }
  return describe_vfio(front_end, fds);
}

void describe_memory(const PlanInput& input, const AttachPlanOptions& options, AttachPlan& plan,
                     std::vector<Diagnostic>& findings) {
  const VmConfig& config = input.config;
  const MemoryDeviceConfig& device = config.memory.devices.front();
  MemoryPart part =
      memory_part_of(device, "memory.devices[0]", config,
                     config.memory.hugepages.value_or(HugepageSize::kNone), options.memory_nodes);
  const bool has_nodes = input.facts.nodes.size() > 1;
  MemoryBackend backend;
  backend.share = config.memory.share;
  if (backend.share) backend.kind = MemoryBackend::Kind::kMemfd;
  backend.page_size = part.page_size;
  backend.merge = config.memory.merge;
  backend.policy = part.policy;
  if (has_nodes) backend.nodes = part.nodes;
  if (part.is_huge() && !part.is_elastic) {
    for (const PageNeed& need : page_needs({part})) {
      check_pages(input, need, Reserving::kNo, findings);
    }
    plan.region = MemoryRegion{.name = part.id,
                               .origin = "\"" + device.id + "\"",
                               .size = part.size,
                               .page_size = part.page_size,
                               .policy = part.policy,
                               .nodes = backend.nodes,
                               .mount = {},
                               .cpus = populating_cpus(input, ThreadPlacement(), part.nodes)};
    backend.kind = MemoryBackend::Kind::kHugetlbfs;
    backend.share = true;  // the pages are in the file, and have to be used from there
    if (part.policy == MemoryPolicy::kPreferred) backend.nodes = {};
  } else if (part.is_huge()) {
    // Populated and given back piece by piece, as the guest asks.
    backend.kind = MemoryBackend::Kind::kMemfd;
  }
  plan.device = describe_memory_device(device, backend, "memory");
}

// A backend that another process serves needs the guest's memory to be a file that it can map.
void check_vhost_user(const PlanInput& input, std::vector<Diagnostic>& findings) {
  const NicConfig& nic = input.config.nics.front();
  if (nic.type != NicType::kVhostUser) return;
  if (!input.config.memory.share) {
    findings.push_back(finding(Severity::kProblem, "nics[0].type",
                               "the guest's memory is not shared, which only its start can change",
                               R"(start with "memory": {"share": true})", ExitStatus::kFailed));
  }
  if (nic.vhost_user.server) return;
  const auto found = input.facts.paths.find(*nic.vhost_user.socket);
  if (found == input.facts.paths.end() || found->second.type != PathFacts::Type::kMissing) return;
  findings.push_back(
      finding(Severity::kProblem, "nics[0].socket",
              fmt::format("{}: no such file", quote(*nic.vhost_user.socket)),
              R"(start the switch first, or "server": true where it connects to QEMU)"));
}

// Who runs as the VM's own user may make no file anywhere.
void check_switch_socket(const PlanInput& input, const QemuUser& user,
                         std::vector<Diagnostic>& findings) {
  for (const NicConfig& nic : input.config.nics) {
    const bool serves = nic.type == NicType::kVhostUser && nic.vhost_user.server;
    if (!serves || user.kind != QemuUser::Kind::kOwn) continue;
    findings.push_back(finding(
        Severity::kProblem, "nics[0].server",
        fmt::format("QEMU, which is user {}, may not make the socket", describe(user)),
        R"("server": false where the switch can listen, or start with "security": {"user": "caller"})",
        ExitStatus::kHost));
  }
}

// At run time no copy in memory can be handed over under a path that is known before.
void check_rom(const PlanInput& input, const QemuUser& user, std::vector<Diagnostic>& findings) {
  for (const VfioConfig& vfio : input.config.vfio) {
    if (!vfio.romfile || vfio.romfile->empty() || !user.is_confined) continue;
    const auto found = input.facts.paths.find(*vfio.romfile);
    if (found == input.facts.paths.end() || may_reach(found->second, user.account, kMayRead)) {
      continue;
    }
    findings.push_back(finding(Severity::kProblem, "vfio[0].romfile",
                               fmt::format("{} can't be read by QEMU, which is user {}",
                                           quote(*vfio.romfile), describe(user)),
                               "chmod o+r, also of the folders above it"));
  }
}

void require_good(std::vector<Diagnostic> findings, const KindEntry& kind) {
  std::erase_if(findings, [](const Diagnostic& d) { return d.severity != Severity::kProblem; });
  if (findings.empty()) return;
  rename_paths(findings, kind, 0);
  throw DiagnosticsError(std::move(findings));
}

template <class T>
const T* find_id(const std::vector<T>& list, const std::string& id) {
  const auto found =
      std::find_if(list.begin(), list.end(), [&](const T& item) { return item.id == id; });
  return found == list.end() ? nullptr : &*found;
}

}  // namespace

std::string fd_name(const std::string& id, std::size_t number) {
  return fmt::format("vmrig-{}-{}", id, number);
}

std::string_view kind_name(DeviceKind kind) { return entry_of(kind).name; }

std::vector<std::string_view> kind_names() {
  std::vector<std::string_view> names;
  for (const KindEntry& entry : kKinds) names.push_back(entry.name);
  return names;
}

const char* kind_list(DeviceKind kind) { return entry_of(kind).list; }

DeviceKind kind_from_name(std::string_view name) {
  for (const KindEntry& entry : kKinds) {
    if (entry.name == name) return entry.kind;
  }
  const std::vector<std::string_view> names = kind_names();
  throw Error({.status = ExitStatus::kUsage,
               .operation = "attach a device of kind",
               .object = std::string(name),
               .cause = "there is no such kind" + did_you_mean(name, names),
               .mend = fmt::format("one of {}", fmt::join(names, ", "))});
}

AttachWish read_wish(Json vm, DeviceKind kind, const Json& device) {
  const KindEntry& entry = entry_of(kind);
  Json& list = vm[Json::json_pointer(entry.list)];
  if (!list.is_array()) list = Json::array();
  const std::size_t index = list.size();
  list.push_back(device);
  AttachWish wish;
  wish.kind = kind;
  try {
    wish.after = config_from_json(vm);
  } catch (const DiagnosticsError& error) {
    std::vector<Diagnostic> faults = error.diagnostics();
    rename_paths(faults, entry, index);
    throw DiagnosticsError(std::move(faults));
  }
  wish.alone = only_last(wish.after, kind);
  list.back() = device_json(wish.alone, kind);
  wish.after_json = std::move(vm);
  // That of a channel may be its name.
  wish.id = kind == DeviceKind::kChannel ? wish.alone.channels.front().id
                                         : device.at("id").get<std::string>();
  return wish;
}

AttachPlan plan_attach(const AttachWish& wish, const PlanInput& input,
                       const AttachPlanOptions& options) {
  const VmConfig& config = wish.alone;
  const KindEntry& kind = entry_of(wish.kind);
  std::vector<Diagnostic> findings;
  AttachPlan plan;
  check_disks(input, findings);
  check_other_files(input, findings);
  check_forwards(input, findings);
  check_macs(input, findings);
  if (wants_pci_devices(config)) {
    Passthrough passthrough(input, findings);
    plan.passed = passthrough.choose(options.near);
    HostSteps host = plan_host_steps(input, plan.passed, findings);
    plan.host_steps = std::move(host.steps);
    plan.along = std::move(host.along);
  }
  const std::string origin(kind.name);
  NetworkPlan network = plan_network(input, findings);
  const auto add_new_steps = [&plan, &options](const std::vector<HostStep>& steps) {
    std::copy_if(steps.begin(), steps.end(), std::back_inserter(plan.host_steps),
                 [&options](const HostStep& step) {
                   const auto& held = options.shares;
                   return std::find(held.begin(), held.end(), step.action) == held.end();
                 });
  };
  add_new_steps(network.steps);
  plan.helpers = std::move(network.helpers);
  if (wish.kind == DeviceKind::kNic) check_vhost_user(input, findings);
  std::vector<std::string> usb_places;
  const std::vector<UsbConfig> usb = choose_usb(input, usb_places, findings);
  if (!usb_places.empty()) plan.usb_place = usb_places.front();
  if (wish.kind == DeviceKind::kMemory) {
    describe_memory(input, options, plan, findings);
    check_memory_limit(wish.after, wish.after.memory.hugepages.value_or(HugepageSize::kNone),
                       "memory.devices[0].size", findings);
  }
  for (Helper& helper : plan.helpers) helper.cgroup = options.cgroup;
  for (HostStep& step : plan_device_limits(input, options.cgroup, findings)) {
    plan.host_steps.push_back(std::move(step));
  }
  AccessWish access{.passed = plan.passed, .usb_places = usb_places};
  add_new_steps(plan_access(input, options.user, access));
  for (const Storage& storage : storages_of(config)) {
    plan.disk_files = files_of(storage.disk, storage.origin, input, findings);
  }
  check_rom(input, options.user, findings);
  check_switch_socket(input, options.user, findings);
  require_good(std::move(findings), kind);

  // An image that QEMU may not open comes as an fd set, under the path that leads there.
  const FdNaming images = [&plan, &options](const FdSource& source) {
    if (!options.user.is_confined) return source.name;
    const int set = options.next_fd_set + static_cast<int>(plan.fd_sets.size());
    plan.fd_sets.push_back({set, source});
    return fmt::format("/dev/fdset/{}", set);
  };
  const FdNaming fds = [&plan, &wish](const FdSource& source) {
    plan.fds.push_back({fd_name(wish.id, plan.fds.size()), source});
    return plan.fds.back().name;
  };
  if (!plan.passed.empty()) {
    plan.device = describe_passed_device(config, wish.id, plan.passed.front().address, fds);
  } else if (wish.kind == DeviceKind::kDisk) {
    const DiskConfig& disk = config.disks.front();
    plan.device =
        with_block_tree(describe_disk(disk, origin, kNotBootedFrom, *plan.disk_files, images));
  } else if (wish.kind == DeviceKind::kNic) {
    const NicConfig& nic = config.nics.front();
    plan.host_end = network.ends.front();
    plan.link_down = nic.link == NicLink::kDown;
    plan.device = describe_nic(nic, {.origin = origin, .vm_name = config.name}, *plan.host_end,
                               options.nic_forms, fds);
  } else if (wish.kind == DeviceKind::kUsb) {
    plan.device = with_block_tree(
        describe_usb(usb.front(), origin, plan.disk_files.value_or(DiskFiles()), images));
  } else if (wish.kind == DeviceKind::kRng) {
    plan.device = describe_rng(wish.id, origin);
  } else if (wish.kind == DeviceKind::kChannel) {
    plan.device = describe_channel(config.channels.front(), origin, fds);
  }
  return plan;
}

std::vector<std::string> device_ids(const VmConfig& vm) {
  std::vector<std::string> ids;
  const auto add = [&ids](const auto& list) {
    for (const auto& device : list) ids.push_back(device.id);
  };
  add(vm.disks);
  add(vm.nics);
  add(vm.usb);
  add(vm.memory.devices);
  add(vm.rngs);
  add(vm.vfio);
  return ids;
}

bool has_device(const VmConfig& vm, const std::string& id) {
  bool has = false;
  for_each_list(vm, [&](DeviceKind, const auto& list) { has = has || find_id(list, id); });
  return has;
}

std::optional<PresentDevice> find_device(const VmConfig& vm, const std::string& id,
                                         const DiskFiles& files) {
  const auto present = [](DeviceKind kind, DeviceDescription device) {
    return PresentDevice{kind, std::move(device)};
  };
  // What its fds were does not matter to its removal.
  const FdNaming no_fds = [](const FdSource&) { return std::string(); };
  DeviceDescription passed;  // has no backend
  passed.id = id;
  if (const DiskConfig* disk = find_id(vm.disks, id)) {
    return present(DeviceKind::kDisk, describe_disk(*disk, "disk", kNotBootedFrom, files, no_fds));
  }
  if (const NicConfig* nic = find_id(vm.nics, id)) {
    if (nic->type == NicType::kVf) return present(DeviceKind::kNic, passed);
    return present(DeviceKind::kNic, describe_nic(*nic, {.origin = "nic", .vm_name = vm.name},
                                                  NicHostEnd(), NicForms(), no_fds));
  }
  if (const UsbConfig* usb = find_id(vm.usb, id)) {
    return present(DeviceKind::kUsb, describe_usb(*usb, "usb", files, no_fds));
  }
  if (const MemoryDeviceConfig* memory = find_id(vm.memory.devices, id)) {
    return present(DeviceKind::kMemory, describe_memory_device(*memory, MemoryBackend(), "memory"));
  }
  if (find_id(vm.rngs, id) != nullptr) {
    return present(DeviceKind::kRng, describe_rng(id, "rng"));
  }
  if (const ChannelConfig* channel = find_id(vm.channels, id)) {
    return present(DeviceKind::kChannel, describe_channel(*channel, "channel", no_fds));
  }
  if (find_id(vm.vfio, id) != nullptr) return present(DeviceKind::kVfio, passed);
  return std::nullopt;
}

VmConfig without_device(VmConfig vm, const std::string& id) {
  for_each_list(vm, [&id](DeviceKind, auto& list) {
    std::erase_if(list, [&id](const auto& device) { return device.id == id; });
  });
  std::erase(vm.boot.order, id);
  return vm;
}

Json without_device(Json json, const VmConfig& vm, const std::string& id) {
  for_each_list(vm, [&](DeviceKind kind, const auto& list) {
    for (std::size_t i = list.size(); i-- > 0;) {
      if (list[i].id == id) json.at(Json::json_pointer(entry_of(kind).list)).erase(i);
    }
  });
  if (!vm.boot.order.empty()) {
    Json& order = json.at("boot").at("order");
    order.erase(std::remove(order.begin(), order.end(), Json(id)), order.end());
  }
  return json;
}

}  // namespace vmrig
