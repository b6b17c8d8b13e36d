#include "launcher/config/vm_config.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>

#include "devices/ids.hpp"
#include "hostcfg/base/error.hpp"

namespace vmrig {
namespace {

constexpr std::int64_t kMaxVcpus = 4096;

bool is_alnum(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

TextRule name_rule() {
  return {.min_length = 1,
          .max_length = 64,
          .pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$",
          .meaning = "letters, digits, '-', '_' and '.'; a letter or digit first",
          .check = [](const std::string& name) { return why_bad_name(name); }};
}

std::string why_bad_cpulist(const std::string& text) {
  try {
    return CpuSet::parse(text).empty() ? "names no CPU" : "";
  } catch (const std::invalid_argument&) {
    return "is no cpulist; write \"2\", \"2-5\" or \"2-5,8\"";
  }
}

TextRule cpulist_rule() {
  return {.min_length = 1,
          .max_length = 1024,
          .pattern = "^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$",
          .meaning = "a cpulist",
          .check = why_bad_cpulist};
}

// "auto", "none", or what `list` describes.
TextRule mode_rule(bool or_cpulist) {
  return {.min_length = 1,
          .max_length = 1024,
          .pattern =
              or_cpulist ? "^(auto|none|[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*)$" : "^(auto|none)$",
          .meaning = or_cpulist ? "\"auto\", \"none\" or a cpulist" : "\"auto\" or \"none\"",
          .check = [or_cpulist](const std::string& text) -> std::string {
            if (text == "auto" || text == "none") return {};
            if (!or_cpulist) return "is neither \"auto\" nor \"none\"";
            return why_bad_cpulist(text).empty()
                       ? ""
                       : "is neither \"auto\" nor \"none\" nor a cpulist such as \"2-5,8\"";
          }};
}

std::string mode_text(const Pinning& pinning) {
  switch (pinning.mode) {
    case Pinning::Mode::kAuto:
      return "auto";
    case Pinning::Mode::kNone:
      return "none";
    case Pinning::Mode::kList:
      break;
  }
  return pinning.cpulists.empty() ? "none" : pinning.cpulists.front();
}

void set_mode(Pinning& pinning, const std::string& text) {
  pinning.mode = text == "auto"   ? Pinning::Mode::kAuto
                 : text == "none" ? Pinning::Mode::kNone
                                  : Pinning::Mode::kList;
  pinning.cpulists.clear();
  if (pinning.mode == Pinning::Mode::kList) pinning.cpulists.push_back(text);
}

struct VcpuPinning {
  Pinning& pinning;
};

void visit(Shape& shape, VcpuPinning& value) {
  Pinning& pin = value.pinning;
  int which = pin.mode == Pinning::Mode::kList ? 1 : 0;
  shape.any_of(which, {{Alternative::Type::kText,
                        [&](Shape& inner) {
                          std::string text = mode_text(pin);
                          inner.text(text, mode_rule(false));
                          set_mode(pin, text);
                        }},
                       {Alternative::Type::kList, [&](Shape& inner) {
                          pin.mode = Pinning::Mode::kList;
                          vmrig::visit(inner, pin.cpulists, ListRule{1, 4096}, cpulist_rule());
                        }}});
}

struct EmulatorPinning {
  Pinning& pinning;
};

void visit(Shape& shape, EmulatorPinning& value) {
  std::string text = mode_text(value.pinning);
  shape.text(text, mode_rule(true));
  set_mode(value.pinning, text);
}

struct NodeChoice {
  MemoryConfig& memory;
};

void set_nodes(MemoryConfig& memory, const std::string& text) {
  memory.nodes = {};
  memory.node_mode = text == "auto" ? Pinning::Mode::kAuto : Pinning::Mode::kNone;
  if (text == "auto" || !why_bad_cpulist(text).empty()) return;
  memory.nodes = CpuSet::parse(text);
  if (memory.nodes.size() > 1) return;
  memory.node_mode = Pinning::Mode::kList;
  memory.node = std::exchange(memory.nodes, {}).first();
}

constexpr const char* kOnFault = "on-fault";

struct LockChoice {
  MemoryConfig& memory;
};

void visit(Shape& shape, LockChoice& value) {
  MemoryConfig& memory = value.memory;
  int which = memory.lock_on_fault ? 1 : 0;
  shape.any_of(which, {{Alternative::Type::kFlag,
                        [&](Shape& inner) {
                          inner.flag(memory.lock);
                          memory.lock_on_fault = false;
                        }},
                       {Alternative::Type::kText, [&](Shape& inner) {
                          std::string text = kOnFault;
                          inner.text(text,
                                     {.min_length = 1,
                                      .max_length = 16,
                                      .pattern = "^on-fault$",
                                      .meaning = "\"on-fault\", or true or false",
                                      .check = [](const std::string& word) -> std::string {
                                        return word == kOnFault
                                                   ? ""
                                                   : "is neither true, false nor \"on-fault\"";
                                      }});
                          memory.lock = true;
                          memory.lock_on_fault = true;
                        }}});
}

void visit(Shape& shape, NodeChoice& value) {
  MemoryConfig& memory = value.memory;
  int which = memory.node_mode == Pinning::Mode::kList ? 1 : 0;
  shape.any_of(which, {{Alternative::Type::kText,
                        [&](Shape& inner) {
                          const bool is_auto = memory.node_mode == Pinning::Mode::kAuto;
                          std::string text = !memory.nodes.empty() ? memory.nodes.to_string()
                                             : is_auto             ? "auto"
                                                                   : "none";
                          inner.text(text, mode_rule(true));
                          set_nodes(memory, text);
                        }},
                       {Alternative::Type::kInteger, [&](Shape& inner) {
                          std::int64_t node = memory.node;
                          inner.integer(node, {0, 1023});
                          memory.node = static_cast<int>(node);
                          memory.node_mode = Pinning::Mode::kList;
                        }}});
}

}  // namespace

void describe(Fields& fields, MachineConfig& machine) {
  fields.optional("type", "Machine type: q35 (PCI Express) or pc (i440FX).", machine.type);
  fields.optional("accel", "kvm, tcg, or auto: kvm where the CPU and /dev/kvm allow it.",
                  machine.accel);
  fields.optional("hotplug_ports", "Spare PCI Express root ports for hotplug (q35 only).",
                  machine.hotplug_ports, IntRule{0, 64});
}

void describe(Fields& fields, BootConfig& boot) {
  fields.optional("kernel", "Linux kernel to boot directly.", boot.kernel, path_rule());
  fields.optional("initrd", "Initial RAM disk for the kernel.", boot.initrd, path_rule());
  fields.optional(
      "cmdline", "Command line for the kernel.", boot.cmdline,
      TextRule{.min_length = 0, .max_length = 2047, .pattern = {}, .meaning = {}, .check = {}});
  fields.optional("order", "Ids of disks, NICs and VFIO devices in the order of booting.",
                  boot.order, ListRule{0, 64}, id_rule());
  fields.rule([&](const Fields::Fault& fault) {
    if (boot.kernel) return;
    if (boot.initrd) fault("initrd", "is of no use without a kernel", R"("boot": {"kernel": …})");
    if (boot.cmdline) fault("cmdline", "is of no use without a kernel", R"("boot": {"kernel": …})");
  });
}

void describe(Fields& fields, TopologyConfig& topology) {
  fields.optional("sockets", "CPU sockets.", topology.sockets, IntRule{1, kMaxVcpus});
  fields.optional("cores", "Cores a socket.", topology.cores, IntRule{1, kMaxVcpus});
  fields.optional("threads", "Threads a core.", topology.threads, IntRule{1, 16});
}

namespace {

std::string why_bad_cpu_model(const std::string& model) {
  const bool good = std::all_of(model.begin(), model.end(), [](char c) {
    return is_alnum(c) || std::string_view("-_.,+=").find(c) != std::string_view::npos;
  });
  return good && is_alnum(model.front()) ? "" : "is no CPU model such as \"host\" or \"EPYC,+svm\"";
}

}  // namespace

void describe(Fields& fields, CpuConfig& cpu) {
  VcpuPinning pin{cpu.pin};
  EmulatorPinning emulator{cpu.emulator};
  fields.optional("model", "CPU model, with features (\"host\", \"EPYC,+svm\").", cpu.model,
                  TextRule{.min_length = 1,
                           .max_length = 256,
                           .pattern = "^[A-Za-z0-9][A-Za-z0-9_.,+=-]*$",
                           .meaning = "a CPU model",
                           .check = why_bad_cpu_model});
  fields.optional("vcpus", "Number of vCPUs.", cpu.vcpus, IntRule{1, kMaxVcpus});
  fields.optional("max_vcpus", "Number that hotplug can reach.", cpu.max_vcpus,
                  IntRule{1, kMaxVcpus});
  fields.optional("topology", "Sockets, cores and threads; their product is max_vcpus.",
                  cpu.topology);
  fields.member("pin", "CPUs of the vCPUs: \"auto\", \"none\", or one cpulist a vCPU.",
                Fields::Need::kOptional, true, [&](Shape& shape) { visit(shape, pin); });
  fields.member("emulator", "CPUs of QEMU's other threads: \"auto\", \"none\" or a cpulist.",
                Fields::Need::kOptional, true, [&](Shape& shape) { visit(shape, emulator); });
  fields.optional("smt", "SMT siblings of vCPUs: use them, give them to the emulator, or idle.",
                  cpu.smt);
  fields.optional("exclusive", "No other vmrig VM is given these CPUs.", cpu.exclusive);
  fields.optional("scheduler", "How the host schedules the vCPUs' threads.", cpu.scheduler);
  fields.rule([&](const Fields::Fault& fault) {
    const int most = cpu.max_vcpus.value_or(cpu.vcpus);
    if (cpu.vcpus > most) {
      fault("max_vcpus", fmt::format("is {}, less than the {} vCPUs", most, cpu.vcpus),
            fmt::format("\"max_vcpus\": {}", cpu.vcpus));
    }
    if (cpu.topology) {
      const std::int64_t product =
          std::int64_t{cpu.topology->sockets} * cpu.topology->cores * cpu.topology->threads;
      if (product != most) {
        fault("topology",
              fmt::format("{} sockets of {} cores of {} threads are {} CPUs, the VM has {}",
                          cpu.topology->sockets, cpu.topology->cores, cpu.topology->threads,
                          product, most),
              fmt::format("\"max_vcpus\": {}", product));
      }
    }
    if (cpu.pin.mode == Pinning::Mode::kList &&
        cpu.pin.cpulists.size() != static_cast<std::size_t>(cpu.vcpus) &&
        cpu.pin.cpulists.size() != static_cast<std::size_t>(most)) {
      fault("pin",
            fmt::format("has {} cpulists, one a vCPU is needed: {}", cpu.pin.cpulists.size(), most),
            {});
    }
  });
}

namespace {

void check_nodes(const MemoryConfig& memory, const Fields::Fault& fault) {
  constexpr int kMostNodes = 1024;
  const bool in_turn = memory.policy == MemoryPolicy::kInterleave;
  const std::vector<int> nodes = memory.nodes.cpus();
  if (!nodes.empty() && nodes.back() >= kMostNodes) {
    fault("node", fmt::format("there is no NUMA node {}", nodes.back()), {});
  }
  if (!nodes.empty() && !in_turn) {
    fault(
        "node",
        fmt::format("{} are several nodes, which only one policy takes", memory.nodes.to_string()),
        R"("policy": "interleave")");
  }
  const bool has_node = !nodes.empty() || memory.node_mode != Pinning::Mode::kNone;
  if (memory.policy != MemoryPolicy::kBind && !has_node) {
    fault("policy", fmt::format("\"{}\" is of no use without a node", name_of(memory.policy)),
          R"("node": "auto")");
  }
  if (memory.reserve && memory.hugepages == HugepageSize::kNone) {
    fault("reserve", "is of no use without hugepages", R"("hugepages": "2MiB")");
  }
}

}  // namespace

void describe(Fields& fields, MemoryConfig& memory) {
  NodeChoice node{memory};
  LockChoice lock{memory};
  const SizeRule ram{Bytes::mib(1), Bytes::gib(std::uint64_t{64} << 10), Bytes::mib(1)};
  fields.required("size", "Guest memory.", memory.size, ram);
  fields.optional("hugepages", "Size of the hugepages that hold it, or none.", memory.hugepages);
  fields.optional("backing", "Hugepages by a hugetlbfs mount, or by memfd.", memory.backing);
  fields.optional(
      "reserve",
      "Add hugepages that are missing to the host's pools, and give them back at the end.",
      memory.reserve);
  fields.optional("prealloc", "Get all memory before the guest starts.", memory.prealloc);
  fields.member("lock",
                "Lock all of QEMU's memory: nothing is swapped out; \"on-fault\" once it is used.",
                Fields::Need::kOptional, true, [&](Shape& shape) { visit(shape, lock); });
  fields.optional("merge", "Allow KSM to merge equal pages.", memory.merge);
  fields.member(
      "node", "Host NUMA node of the memory: \"auto\", \"none\", its number, or a list (\"0-1\").",
      Fields::Need::kOptional, true, [&](Shape& shape) { visit(shape, node); });
  fields.optional("policy",
                  "Pages come from that node alone (bind), from it first, or from several in turn.",
                  memory.policy);
  fields.optional("max", "What memory hotplug can reach.", memory.max, ram);
  fields.optional("slots", "DIMM slots for hotplug.", memory.slots, IntRule{1, 256});
  fields.optional("share", "Other processes may map it, as vhost-user needs.", memory.share);
  fields.optional("devices", "DIMMs and virtio-mem devices.", memory.devices, ListRule{0, 256});
  fields.rule([&](const Fields::Fault& fault) {
    if (memory.max && *memory.max < memory.size) {
      fault("max",
            fmt::format("is {}, less than the size of {}", to_string(*memory.max),
                        to_string(memory.size)),
            fmt::format("\"max\": \"{}\"", to_string(memory.size)));
    }
    Bytes all = memory.size;
    for (std::size_t i = 0; i < memory.devices.size(); ++i) {
      all = all + memory.devices[i].size;
      if (memory.max && all <= *memory.max) continue;
      fault(fmt::format("devices[{}].size", i),
            memory.max ? fmt::format("makes {} of memory in all, \"max\" is {}", to_string(all),
                                     to_string(*memory.max))
                       : "needs a VM with room for memory: it has no \"max\"",
            fmt::format("\"memory\": {{\"max\": \"{}\"}}, when the VM is started", to_string(all)));
      break;
    }
    check_nodes(memory, fault);
    if (memory.slots && !memory.max) {
      fault("slots", "is of no use without a maximum",
            fmt::format("\"max\": \"{}\"", to_string(Bytes{memory.size.value * 2})));
    }
    if (memory.hugepages && *memory.hugepages != HugepageSize::kNone) {
      const Bytes page = *memory.hugepages == HugepageSize::k1GiB ? Bytes::gib(1) : Bytes::mib(2);
      if (memory.size.value % page.value != 0) {
        fault("size",
              fmt::format("{} is no multiple of the hugepage size {}", to_string(memory.size),
                          to_string(page)),
              fmt::format("\"size\": \"{}\"",
                          to_string(Bytes{(memory.size.value / page.value + 1) * page.value})));
      }
    }
  });
}

void describe(Fields& fields, ClockConfig& clock) {
  fields.optional("rtc", "What the real-time clock holds.", clock.rtc);
  fields.optional("rtc_catchup", "Make up for lost RTC ticks (KVM).", clock.rtc_catchup);
  fields.optional("hpet", "A high precision event timer.", clock.hpet);
  fields.optional("pit_lost_ticks", "Deliver lost PIT ticks late, or discard them (KVM).",
                  clock.pit_lost_ticks);
}

void describe(Fields& fields, PowerConfig& power) {
  fields.optional("s3", "Suspend to memory is offered to the guest.", power.s3);
  fields.optional("s4", "Suspend to disk is offered to the guest.", power.s4);
  fields.optional("on_poweroff",
                  "When the guest powers off: end the VM, start it anew, or let it stand still.",
                  power.on_poweroff);
  fields.optional("on_reboot", "When the guest reboots or is reset: so be it, or end the VM.",
                  power.on_reboot);
  fields.optional("on_crash",
                  "When the guest panics or QEMU dies: end the VM, start it anew, or let it stand "
                  "still.",
                  power.on_crash);
  fields.optional("max_restarts",
                  "How often a VM that does not last a minute is started anew, ever more slowly.",
                  power.max_restarts, IntRule{1, 1'000'000});
  fields.optional("pvpanic", "The device by which a Linux guest tells that it has panicked.",
                  power.pvpanic);
  fields.optional("on_supervisor_exit",
                  "What becomes of QEMU when vmrig is killed; keep under start, kill under run.",
                  power.on_supervisor_exit);
  fields.optional("stop_timeout_s", "Seconds that the guest has to power off when asked.",
                  power.stop_timeout_s, IntRule{0, 86400});
}

namespace {

struct IdPlace {
  std::string_view list;
  std::size_t index;

  std::string path() const { return fmt::format("{}[{}].id", list, index); }
};

template <class T>
void collect_ids(const std::vector<T>& list, std::string_view name,
                 std::vector<std::pair<std::string_view, IdPlace>>& ids) {
  for (std::size_t i = 0; i < list.size(); ++i) ids.push_back({list[i].id, {name, i}});
}

template <class T>
bool has_id(const std::vector<T>& list, const std::string& id) {
  return std::any_of(list.begin(), list.end(), [&](const T& item) { return item.id == id; });
}

void check_ids(const VmConfig& config, const Fields::Fault& fault) {
  std::vector<std::pair<std::string_view, IdPlace>> ids;
  collect_ids(config.iothreads, "iothreads", ids);
  collect_ids(config.disks, "disks", ids);
  collect_ids(config.nics, "nics", ids);
  collect_ids(config.vfio, "vfio", ids);
  collect_ids(config.serial, "serial", ids);
  collect_ids(config.channels, "channels", ids);
  collect_ids(config.memory.devices, "memory.devices", ids);
  collect_ids(config.rngs, "rngs", ids);
  collect_ids(config.usb, "usb", ids);
  std::map<std::string_view, IdPlace> first;
  for (const auto& [id, place] : ids) {
    if (id.empty()) continue;  // missing, and reported as that
    const auto [known, fresh] = first.emplace(id, place);
    if (fresh) continue;
    fault(place.path(), fmt::format("\"{}\" is the id of {} already", id, known->second.path()),
          {});
  }
}

void check_references(const VmConfig& config, const Fields::Fault& fault) {
  for (std::size_t i = 0; i < config.disks.size(); ++i) {
    const DiskConfig& disk = config.disks[i];
    if (disk.iothread && !has_id(config.iothreads, *disk.iothread)) {
      fault(fmt::format("disks[{}].iothread", i),
            fmt::format("no iothread has the id \"{}\"", *disk.iothread),
            fmt::format(R"("iothreads": [{{"id": "{}"}}])", *disk.iothread));
    }
  }
  for (std::size_t i = 0; i < config.boot.order.size(); ++i) {
    const std::string& id = config.boot.order[i];
    const std::string path = fmt::format("boot.order[{}]", i);
    if (!has_id(config.disks, id) && !has_id(config.nics, id) && !has_id(config.vfio, id)) {
      fault(path, fmt::format("no disk, NIC or VFIO device has the id \"{}\"", id), {});
    }
    if (std::find(config.boot.order.begin(), config.boot.order.end(), id) !=
        config.boot.order.begin() + static_cast<std::ptrdiff_t>(i)) {
      fault(path, fmt::format("\"{}\" stands in the order twice", id), {});
    }
  }
}

void check_macs(const VmConfig& config, const Fields::Fault& fault) {
  std::map<std::string, std::size_t> first;
  for (std::size_t i = 0; i < config.nics.size(); ++i) {
    const std::string mac = mac_of(config.nics[i], config.name);
    auto [known, fresh] = first.emplace(mac, i);
    if (!fresh) {
      fault(fmt::format("nics[{}].mac", i),
            fmt::format("{} is the address of nics[{}] already", mac, known->second), {});
    }
  }
}

void check_interfaces(const VmConfig& config, const Fields::Fault& fault) {
  std::map<std::string, std::size_t> first;
  for (std::size_t i = 0; i < config.nics.size(); ++i) {
    const std::string name = interface_name(config.nics[i], config.name);
    if (name.empty()) continue;
    const auto [known, is_new] = first.emplace(name, i);
    if (is_new) continue;
    fault(fmt::format("nics[{}].{}", i, config.nics[i].tap.device ? "device" : "ifname"),
          fmt::format("{} is the network device of nics[{}] already", quote(name), known->second),
          {});
  }
}

void check_queues(const VmConfig& config, const Fields::Fault& fault) {
  const int most = config.cpu.max_vcpus.value_or(config.cpu.vcpus);
  for (std::size_t i = 0; i < config.nics.size(); ++i) {
    const int queues = config.nics[i].queues.value_or(1);
    if (queues <= std::max(most, config.cpu.vcpus)) continue;
    fault(fmt::format("nics[{}].queues", i),
          fmt::format("{} queues are more than the VM's {} vCPUs", queues, most),
          fmt::format("\"queues\": {}", most));
  }
}

void check_channels(const VmConfig& config, const Fields::Fault& fault) {
  std::map<std::string, std::size_t> first;
  for (std::size_t i = 0; i < config.channels.size(); ++i) {
    const std::string& name = config.channels[i].name;
    const auto [known, is_new] = first.emplace(name, i);
    if (is_new || name.empty()) continue;
    fault(fmt::format("channels[{}].name", i),
          fmt::format("{} is the name of channels[{}] already", quote(name), known->second), {});
  }
}

void check_watchdog(const VmConfig& config, const Fields::Fault& fault) {
  if (!config.watchdog || config.watchdog->model != WatchdogModel::kItco) return;
  if (config.machine.type == MachineType::kQ35) return;
  fault("watchdog.model", "is in the chipset of a q35 machine, and this one is pc",
        R"("model": "i6300esb")");
}

void check_guest_nodes(const VmConfig& config, const Fields::Fault& fault) {
  if (config.numa.empty()) return;
  const HugepageSize pages = config.memory.hugepages.value_or(HugepageSize::kNone);
  check_numa(config.numa, config.cpu.max_vcpus.value_or(config.cpu.vcpus), config.memory.size,
             pages == HugepageSize::kNone ? Bytes::mib(1) : page_size_of(pages), fault);
  if (config.memory.node_mode == Pinning::Mode::kList) {
    fault("memory.node", "is of no use beside \"numa\", whose nodes have one each",
          fmt::format(R"("numa": [{{…, "node": {}}}])", config.memory.node));
  }
  for (std::size_t i = 0; i < config.numa.size(); ++i) {
    if (config.numa[i].pxb && config.machine.type != MachineType::kQ35) {
      fault(fmt::format("numa[{}].pxb", i), "needs a q35 machine", R"("type": "q35")");
    }
  }
}

}  // namespace

std::vector<std::string_view> enum_names(Profile) { return {"plain", "nfv"}; }
std::vector<std::string_view> enum_names(MachineType) { return {"q35", "pc"}; }
std::vector<std::string_view> enum_names(AccelChoice) { return {"auto", "kvm", "tcg"}; }
std::vector<std::string_view> enum_names(SmtPolicy) { return {"use", "emulator", "isolate"}; }
std::vector<std::string_view> enum_names(MemoryBacking) { return {"hugetlbfs", "memfd"}; }
std::vector<std::string_view> enum_names(RtcBase) { return {"utc", "localtime"}; }
std::vector<std::string_view> enum_names(PitLostTicks) { return {"delay", "discard"}; }
std::vector<std::string_view> enum_names(SupervisorExit) { return {"keep", "kill"}; }
std::vector<std::string_view> enum_names(OnEnd) { return {"destroy", "restart", "preserve"}; }
std::vector<std::string_view> enum_names(OnReboot) { return {"restart", "destroy"}; }

VmConfig defaults_for(Profile profile) {
  VmConfig config;
  config.profile = profile;
  config.serial.push_back({.id = "con0", .type = SerialType::kSocket, .path = {}});
  if (profile == Profile::kNfv) {
    config.cpu.pin.mode = Pinning::Mode::kAuto;
    config.cpu.emulator.mode = Pinning::Mode::kAuto;
    config.cpu.smt = SmtPolicy::kEmulator;
    config.cpu.exclusive = true;
    config.memory.prealloc = true;
    config.memory.lock = true;
    config.memory.merge = false;
    config.memory.node_mode = Pinning::Mode::kAuto;
    config.latency = true;
  }
  return config;
}

void describe(Fields& fields, VmConfig& config) {
  fields.required("name", "The VM's name, unique on its host.", config.name, name_rule());
  fields.optional("profile", "Which defaults the other keys have.", config.profile);
  fields.member("qemu", "QEMU's binary; qemu-system-x86_64 in PATH when not given.",
                Fields::Need::kOptional, !config.qemu.empty(),
                [&](Shape& shape) { visit(shape, config.qemu, path_rule()); });
  fields.optional("machine", "The machine.", config.machine);
  fields.not_built("firmware", "bios");
  fields.optional("boot", "What the machine boots.", config.boot);
  fields.optional("cpu", "vCPUs, and the host CPUs that they run on.", config.cpu);
  fields.required("memory", "Guest memory.", config.memory);
  fields.optional("numa", "Guest NUMA nodes; the host's shape when the VM spans nodes.",
                  config.numa, ListRule{0, 128});
  fields.optional("iothreads", "Threads that serve disks.", config.iothreads, ListRule{0, 64});
  fields.optional("disks", "Disks.", config.disks, ListRule{0, 200});
  fields.optional("nics", "Network cards.", config.nics, ListRule{0, 64});
  fields.optional("vfio", "PCI devices of the host.", config.vfio, ListRule{0, 64});
  fields.optional("serial", "Serial ports.", config.serial, ListRule{0, 4});
  fields.optional("channels", "Channels to the guest (virtio-serial), as its agent's.",
                  config.channels, ListRule{0, 30});
  fields.optional("usb", "USB devices.", config.usb, ListRule{0, 15});
  fields.not_built("tpm", nullptr);
  fields.not_built("shares", Json::array());
  fields.not_built("video", "none");
  fields.optional("rng", "A virtio entropy source.", config.rng);
  fields.optional("rngs", "More entropy sources, by id.", config.rngs, ListRule{0, 16});
  fields.optional("balloon", "A virtio balloon, by which the guest gives memory back.",
                  config.balloon);
  fields.optional("watchdog", "A watchdog, and what it does.", config.watchdog);
  fields.not_built("display", "none");
  fields.optional("latency", "Idle and halt in the guest, for the shortest wake-up (KVM).",
                  config.latency);
  fields.optional("clock", "Clocks and timers.", config.clock);
  fields.optional("power", "Power states, and what ends the VM.", config.power);
  fields.optional("limits", "Limits by cgroup v2 on QEMU and what helps it.", config.limits);
  fields.optional("security", "Walls around QEMU.", config.security);
  fields.optional(
      "qemu_args", "Arguments appended to QEMU's command line as they are.", config.qemu_args,
      ListRule{0, 1024},
      TextRule{.min_length = 0, .max_length = 131071, .pattern = {}, .meaning = {}, .check = {}});
  fields.rule([&](const Fields::Fault& fault) {
    check_ids(config, fault);
    check_references(config, fault);
    check_macs(config, fault);
    check_interfaces(config, fault);
    check_queues(config, fault);
    check_guest_nodes(config, fault);
    check_channels(config, fault);
    check_watchdog(config, fault);
  });
}

std::vector<std::string> paths_of(const VmConfig& config) {
  std::vector<std::string> paths;
  for (const Storage& storage : storages_of(config)) paths.push_back(storage.disk.path);
  for (const auto& path : {config.boot.kernel, config.boot.initrd}) {
    if (path) paths.push_back(*path);
  }
  for (const SerialConfig& serial : config.serial) {
    if (!serial.path) continue;
    paths.push_back(*serial.path);
    paths.push_back(folder_of(*serial.path));
  }
  for (const NicConfig& nic : config.nics) {
    if (nic.vhost_user.socket) paths.push_back(*nic.vhost_user.socket);
    if (nic.type != NicType::kPasst) continue;
    paths.insert(paths.end(), passt_places().begin(), passt_places().end());
  }
  for (const VfioConfig& vfio : config.vfio) {
    if (vfio.romfile && !vfio.romfile->empty()) paths.push_back(*vfio.romfile);
  }
  return paths;
}

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

bool forwards_ports(const VmConfig& config) {
  return std::any_of(config.nics.begin(), config.nics.end(),
                     [](const NicConfig& nic) { return !nic.forward.empty(); });
}

bool wants_pci_devices(const VmConfig& config) {
  return !config.vfio.empty() ||
         std::any_of(config.nics.begin(), config.nics.end(),
                     [](const NicConfig& nic) { return nic.type == NicType::kVf; });
}

bool wants_net_devices(const VmConfig& config) {
  return std::any_of(config.nics.begin(), config.nics.end(), [](const NicConfig& nic) {
    return nic.type == NicType::kTap || nic.type == NicType::kMacvtap;
  });
}

bool wants_usb_devices(const VmConfig& config) {
  return std::any_of(config.usb.begin(), config.usb.end(),
                     [](const UsbConfig& usb) { return usb.type == UsbType::kHost; });
}

std::vector<Storage> storages_of(const VmConfig& config) {
  std::vector<Storage> list;
  for (std::size_t i = 0; i < config.disks.size(); ++i) {
    list.push_back({config.disks[i], fmt::format("disks[{}]", i)});
  }
  for (std::size_t i = 0; i < config.usb.size(); ++i) {
    if (config.usb[i].type != UsbType::kStorage) continue;
    list.push_back({usb_disk(config.usb[i]), fmt::format("usb[{}]", i)});
  }
  return list;
}

std::string why_bad_name(std::string_view name) {
  const bool good = !name.empty() && name.size() <= 64 && is_alnum(name.front()) &&
                    std::all_of(name.begin(), name.end(), [](char c) {
                      return is_alnum(c) || c == '-' || c == '_' || c == '.';
                    });
  return good ? ""
              : "is no name for a VM; at most 64 letters, digits, \"-\", \"_\" and \".\", a letter "
                "or digit first";
}

}  // namespace vmrig
