#include "launcher/plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "devices/balloon.hpp"
#include "devices/channel.hpp"
#include "devices/controllers.hpp"
#include "devices/memory.hpp"
#include "devices/panic.hpp"
#include "devices/pci_slots.hpp"
#include "devices/rng.hpp"
#include "devices/vfio.hpp"
#include "devices/watchdog.hpp"
#include "launcher/accelerator.hpp"
#include "launcher/access_plan.hpp"
#include "launcher/child_fd_plan.hpp"
#include "launcher/command_line.hpp"
#include "launcher/guest_nodes.hpp"
#include "launcher/image_chain.hpp"
#include "launcher/limits.hpp"
#include "launcher/memory_limits.hpp"
#include "launcher/memory_plan.hpp"
#include "launcher/memory_steps.hpp"
#include "launcher/network.hpp"
#include "launcher/passthrough.hpp"
#include "launcher/placement.hpp"
#include "launcher/power_plan.hpp"
#include "launcher/preflight.hpp"
#include "launcher/scheduling.hpp"
#include "launcher/usb.hpp"

namespace vmrig {
namespace {

class Planner {
 public:
  explicit Planner(const PlanInput& input) : input_(input), config_(input.config) {
    plan_.config = input.config;
    plan_.qemu = input.qemu;
    plan_.qemu_version = input.caps.version;
  }

  Plan make() {
    AccelDecision accel = choose_accelerator(input_);
    plan_.accel = accel.accel;
    plan_.accel_reason = std::move(accel.reason);
    add(std::move(accel.finding));
    choose_hugepages();
    Passthrough passthrough(input_, plan_.preflight);
    plan_.placement =
        place_threads(input_, plan_.hugepages, passthrough.node_wishes(), plan_.preflight);
    plan_.user = choose_user(input_, plan_.placement, plan_.hugepages, plan_.preflight);
    choose_memory();
    plan_.passed = passthrough.choose(plan_.placement.near);
    HostSteps host = plan_host_steps(input_, plan_.passed, plan_.preflight);
    plan_.host_steps =
        plan_memory_steps(input_, parts_, plan_.user, plan_.claim.pages, plan_.preflight);
    plan_.host_steps.insert(plan_.host_steps.end(), std::make_move_iterator(host.steps.begin()),
                            std::make_move_iterator(host.steps.end()));
    plan_.claim.pci = addresses_of(plan_.passed, host.along);
    plan_.taken_along = std::move(host.along);
    network();
    limits();
    lock_memory();
    check_machine();
    check_memory(input_, plan_, plan_.preflight);
    check_memory_limits(input_, plan_.hugepages, plan_.preflight);
    check_disks(input_, plan_.preflight);
    check_boot_files(input_, plan_.preflight);
    check_other_files(input_, plan_.preflight);
    check_forwards(input_, plan_.preflight);
    check_macs(input_, plan_.preflight);
    check_scheduling(input_, plan_, plan_.preflight);
    check_power(config_, input_.caps, plan_.preflight);
    usb_ = choose_usb(input_, plan_.claim.usb, plan_.preflight);
    find_disk_files();
    access();
    make_claim();

    option({"-name", "guest=" + config_.name + ",debug-threads=on"}, "name");
    option({"-no-user-config"}, "rule: the command line is all there is");
    option({"-nodefaults"}, "rule: the command line is all there is");
    option({"-display", "none"}, "display");
    option({"-S"}, "rule: threads are pinned before the guest runs");
    option({"-msg", "timestamp=on"}, "rule: logs tell when");
    sandbox();
    machine();
    cpu();
    memory();
    clock_and_power();
    monitor();
    devices();
    boot();
    for (std::size_t i = 0; i < config_.qemu_args.size(); ++i) {
      option({config_.qemu_args[i]}, fmt::format("qemu_args[{}]", i));
    }
    return std::move(plan_);
  }

 private:
  void option(std::vector<std::string> words, std::string origin) {
    plan_.arguments.push_back({std::move(words), std::move(origin)});
  }

  void add(Diagnostic diagnostic) { plan_.preflight.push_back(std::move(diagnostic)); }

  void device(const DeviceDescription& description) {
    std::vector<QemuArgument> rendered = render_device(description, input_.caps);
    plan_.arguments.insert(plan_.arguments.end(), std::make_move_iterator(rendered.begin()),
                           std::make_move_iterator(rendered.end()));
  }

  bool kvm() const { return plan_.accel == Accel::kKvm; }

  void choose_hugepages() {
    if (config_.memory.hugepages) {
      plan_.hugepages = *config_.memory.hugepages;
    } else if (config_.profile == Profile::kNfv) {
      plan_.hugepages =
          input_.facts.pdpe1gb &&
                  config_.memory.size.value % page_size_of(HugepageSize::k1GiB).value == 0
              ? HugepageSize::k1GiB
              : HugepageSize::k2MiB;
      plan_.config.memory.hugepages = plan_.hugepages;
    }
  }

  void network() {
    NetworkPlan network = plan_network(input_, plan_.preflight);
    plan_.host_steps.insert(plan_.host_steps.end(), std::make_move_iterator(network.steps.begin()),
                            std::make_move_iterator(network.steps.end()));
    plan_.host_ends = std::move(network.ends);
    plan_.helpers = std::move(network.helpers);
    plan_.nic_forms = nic_forms(input_.caps);
    plan_.nic_forms.vhost_user_intx = !kvm();
    for (const NicConfig& nic : config_.nics) {
      if (nic.link == NicLink::kDown) plan_.links_down.push_back(nic.id);
      // vhost-user's other side maps the guest's memory.
      if (nic.type == NicType::kVhostUser) plan_.config.memory.share = true;
    }
  }

  void limits() {
    LimitsPlan limits = plan_limits(input_, plan_.hugepages, plan_.preflight);
    plan_.host_steps.insert(plan_.host_steps.end(), std::make_move_iterator(limits.steps.begin()),
                            std::make_move_iterator(limits.steps.end()));
    for (Helper& helper : plan_.helpers) helper.cgroup = limits.group;
    plan_.cgroup = std::move(limits.group);
  }

  // VFIO pins all of the guest's memory.
  void lock_memory() {
    const HostFacts& facts = input_.facts;
    if (config_.memory.lock_on_fault &&
        input_.caps.overcommit_mem_lock != qmp::MemLockForm::on_fault) {
      add(finding(Severity::kProblem, "memory.lock",
                  fmt::format("{} can't lock on fault", quote(plan_.qemu)),
                  "--set memory.lock=true, or a QEMU from 10.0 on"));
    }
    if (!config_.memory.lock && plan_.passed.empty()) return;
    const std::string path = config_.memory.lock ? "memory.lock" : plan_.passed.front().origin;
    if (!facts.memlock_limit || facts.can_sys_resource) {
      plan_.locked_memory = LockedMemory::kUnlimited;
      add(finding(Severity::kOk, path, "memory may be locked"));
      return;
    }
    if (facts.can_ipc_lock) {
      plan_.user.keeps_ipc_lock = true;
      add(finding(Severity::kWarning, path,
                  fmt::format("the limit on locked memory is {}, and vmrig can't raise it: QEMU "
                              "keeps CAP_IPC_LOCK, by which it may lock without limit",
                              to_string(*facts.memlock_limit)),
                  "ulimit -l unlimited (LimitMEMLOCK=infinity in a systemd unit)"));
      return;
    }
    add(finding(Severity::kProblem, path,
                fmt::format("the limit on locked memory is {}, and vmrig has neither "
                            "CAP_IPC_LOCK nor CAP_SYS_RESOURCE",
                            to_string(*facts.memlock_limit)),
                std::string("ulimit -l unlimited (LimitMEMLOCK=infinity in a systemd unit)") +
                    (plan_.passed.empty() ? ", or --set memory.lock=false" : "")));
  }

  void check_machine() {
    const std::string type(name_of(config_.machine.type));
    const qmp::MachineCaps* machine = input_.caps.machine(type);
    if (machine == nullptr) {
      add(finding(Severity::kProblem, "machine.type",
                  fmt::format("{} has no machine \"{}\"", quote(plan_.qemu), type)));
    } else if (static_cast<unsigned>(max_vcpus()) > machine->max_cpus) {
      add(finding(Severity::kProblem, "cpu.vcpus",
                  fmt::format("{} vCPUs, and this QEMU's {} has {} at most", max_vcpus(), type,
                              machine->max_cpus),
                  fmt::format("\"vcpus\": {}", machine->max_cpus)));
    }
    if (!kvm() && config_.cpu.model && config_.cpu.model->rfind("host", 0) == 0) {
      add(finding(Severity::kProblem, "cpu.model",
                  "\"host\" needs KVM, and the guest is emulated: " + plan_.accel_reason,
                  "--set cpu.model=max"));
    }
    const auto allowed = static_cast<int>(input_.facts.allowed.size());
    if (config_.cpu.vcpus > allowed && allowed > 0) {
      add(finding(Severity::kWarning, "cpu.vcpus",
                  fmt::format("{} vCPUs share {} host CPUs", config_.cpu.vcpus, allowed)));
    }
  }

  int max_vcpus() const { return config_.cpu.max_vcpus.value_or(config_.cpu.vcpus); }

  void find_disk_files() {
    for (const auto& [disk, origin] : storages_of(config_)) {
      plan_.disk_files[disk.id] = files_of(disk, origin, input_, plan_.preflight);
    }
  }

  // What QEMU has to open itself, as the user that it is.
  void access() {
    check_qemu_access(input_, plan_.user, plan_.preflight);
    if (kvm()) kvm_access_ = plan_kvm_access(input_, plan_.user, plan_.preflight);
    if (kvm_access_ == KvmAccess::kByAcl) plan_.host_steps.push_back(kvm_step(input_, plan_.user));
    const AccessWish wish{.passed = has_iommufd() ? std::vector<PassedDevice>() : plan_.passed,
                          .usb_places = plan_.claim.usb};
    for (HostStep& step : plan_access(input_, plan_.user, wish)) {
      plan_.host_steps.push_back(std::move(step));
    }
  }

  void make_claim() {
    Lease& claim = plan_.claim;
    claim.vm = config_.name;
    if (plan_.user.kind == QemuUser::Kind::kOwn) claim.uid = plan_.user.account.uid;
    CpuSet cpus = plan_.placement.emulator;
    for (const CpuSet& vcpu : plan_.placement.vcpus) cpus = cpus | vcpu;
    for (const auto& [id, iothread] : plan_.placement.iothreads) cpus = cpus | iothread;
    if (config_.cpu.exclusive) {
      // A sibling left idle is held too: work there would slow the vCPU.
      if (config_.cpu.smt != SmtPolicy::kUse) {
        CpuSet siblings;
        for (const CpuSet& vcpu : plan_.placement.vcpus) {
          for (int cpu : vcpu.cpus()) siblings = siblings | input_.facts.siblings(cpu);
        }
        cpus = cpus | siblings;
      }
      claim.exclusive_cpus = cpus;
    } else {
      claim.shared_cpus = cpus;
    }
    claim_devices(config_, plan_.disk_files, claim);
  }

  void sandbox() {
    if (!config_.security.sandbox) return;
    if (!input_.caps.sandbox_option) {
      add(finding(Severity::kProblem, "security.sandbox", "this QEMU is built without seccomp",
                  "--set security.sandbox=false"));
      return;
    }
    option({"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"},
           "security.sandbox");
  }

  void machine() {
    const std::string type(name_of(config_.machine.type));
    Json props = {{"type", type},
                  {"usb", false},
                  {"vmport", "off"},
                  {"dump-guest-core", false},
                  {"mem-merge", config_.memory.merge}};
    // With guest nodes each has a backend of its own.
    if (plan_.placement.cells.empty()) props["memory-backend"] = memory_backend_id(0);
    const bool has_hpet = input_.caps.has_machine_property(type, "hpet");
    if (has_hpet) props["hpet"] = config_.clock.hpet;
    option({"-machine", keyval(props)}, "machine");
    if (!has_hpet && !config_.clock.hpet) option({"-no-hpet"}, "clock.hpet");
    std::string accel = kvm() ? "kvm" : "tcg,thread=multi";
    if (kvm_access_ == KvmAccess::kByFd) {
      accel += ",device=" + fds_.path({FdSource::Kind::kKvm, kKvmNode}, "machine.accel");
    }
    option({"-accel", accel}, "machine.accel");
  }

  // AMD's CPUs have no IA32_ARCH_CAPABILITIES. Some kernels offer it there all the same and then
  // refuse to set it, by which a QEMU before 10.1 ends; Windows guests stumble over it, too.
  // Source: QEMU's target/i386/cpu.c since 10.1, which does not offer it on AMD.
  bool wants_no_arch_capabilities(const std::string& model) const {
    const bool has_hosts = model.rfind("host", 0) == 0 || model.rfind("max", 0) == 0;
    const std::string& vendor = input_.facts.cpu_vendor;
    return kvm() && has_hosts && (vendor == "AuthenticAMD" || vendor == "HygonGenuine") &&
           model.find("arch-capabilities") == std::string::npos;
  }

  void cpu() {
    std::string model = config_.cpu.model.value_or(kvm() ? "host" : "max");
    if (config_.latency && kvm()) {
      model += ",kvm-hint-dedicated=on";
      if (model.rfind("host", 0) == 0) model += ",host-cache-info=on";
    }
    if (wants_no_arch_capabilities(model)) model += ",arch-capabilities=off";
    option({"-cpu", model}, "cpu.model");
    // A socket a guest node, as on hosts, where that divides; a guest may refuse cores of one
    // socket on several nodes.
    const int nodes = std::max(1, static_cast<int>(plan_.placement.cells.size()));
    const int sockets = max_vcpus() % nodes == 0 ? nodes : 1;
    const TopologyConfig topology =
        config_.cpu.topology.value_or(TopologyConfig{sockets, max_vcpus() / sockets, 1});
    option(
        {"-smp", fmt::format("cpus={},sockets={},cores={},threads={},maxcpus={}", config_.cpu.vcpus,
                             topology.sockets, topology.cores, topology.threads, max_vcpus())},
        "cpu.topology");
  }

  // The parts of the guest's memory, each of which has a backend: its RAM, then the devices.
  void choose_memory() {
    const MemoryConfig& memory = config_.memory;
    std::optional<int>& bound = plan_.placement.node;
    plan_.memory_nodes = memory_nodes(config_, input_.facts, bound);
    const std::vector<GuestCell> cells = memory_parts(memory, plan_.placement);
    ram_parts_ = cells.size();
    for (std::size_t i = 0; i < ram_parts_; ++i) {
      parts_.push_back({.id = memory_backend_id(i),
                        .origin = "memory",
                        .size = cells[i].memory,
                        .page_size = page_size_of(plan_.hugepages),
                        .policy = memory.policy,
                        .nodes = memory_nodes(config_, input_.facts, cells[i].memory_node()),
                        .prealloc = memory.prealloc});
    }
    if (memory.policy != MemoryPolicy::kBind) bound.reset();
    for (std::size_t i = 0; i < memory.devices.size(); ++i) {
      parts_.push_back(memory_part_of(memory.devices[i], fmt::format("memory.devices[{}]", i),
                                      config_, plan_.hugepages, plan_.memory_nodes));
    }
  }

  MemoryBackend backend_of(const MemoryPart& part) {
    return plan_backend(input_, part, plan_, plan_.regions, fds_.naming(part.origin));
  }

  void memory() {
    const MemoryConfig& memory = config_.memory;
    const std::uint64_t kib = memory.size.value >> 10;
    std::string size = fmt::format("size={}k", kib);
    if (memory.max) {
      size +=
          fmt::format(",slots={},maxmem={}k", memory.slots.value_or(8), memory.max->value >> 10);
    }
    option({"-m", size}, "memory.size");
    for (std::size_t i = 0; i < ram_parts_; ++i) {
      device(describe_memory(backend_of(parts_[i]), "memory"));
    }
    std::vector<QemuArgument> nodes = guest_node_arguments(plan_.placement.cells);
    std::move(nodes.begin(), nodes.end(), std::back_inserter(plan_.arguments));

    std::string overcommit;
    if (memory.lock) {
      if (input_.caps.overcommit_mem_lock != qmp::MemLockForm::none) {
        overcommit = memory.lock_on_fault ? "mem-lock=on-fault" : "mem-lock=on";
      } else {
        option({"-realtime", "mlock=on"}, "memory.lock");
      }
    }
    if (config_.latency && kvm())
      overcommit += (overcommit.empty() ? "" : ",") + std::string("cpu-pm=on");
    if (!overcommit.empty()) option({"-overcommit", overcommit}, "memory.lock, latency");
  }

  void clock_and_power() {
    std::string rtc = fmt::format("base={}", name_of(config_.clock.rtc));
    if (config_.clock.rtc_catchup) rtc += ",driftfix=slew";
    option({"-rtc", rtc}, "clock");
    if (kvm()) {  // the in-kernel PIT; TCG has another, without the property
      option({"-global",
              fmt::format("kvm-pit.lost_tick_policy={}", name_of(config_.clock.pit_lost_ticks))},
             "clock.pit_lost_ticks");
    }
    const std::string chip = config_.machine.type == MachineType::kQ35 ? "ICH9-LPC" : "PIIX4_PM";
    option({"-global", fmt::format("{}.disable_s3={}", chip, config_.power.s3 ? 0 : 1)},
           "power.s3");
    option({"-global", fmt::format("{}.disable_s4={}", chip, config_.power.s4 ? 0 : 1)},
           "power.s4");
    std::vector<QemuArgument> ends = power_arguments(config_, input_.caps);
    std::move(ends.begin(), ends.end(), std::back_inserter(plan_.arguments));
    option({"-boot", "strict=on"}, "boot");
  }

  void monitor() {
    const std::string fd =
        fds_.number({FdSource::Kind::kListeningSocket, kMonitorSocketName}, "rule: QMP");
    option({"-chardev", "socket,id=vmrig-qmp,fd=" + fd + ",server=on,wait=off"}, "rule: QMP");
    option({"-mon", "chardev=vmrig-qmp,mode=control"}, "rule: QMP");
  }

  // The place of each bootable device in the boot order, from 0; -1 for none.
  int bootindex(const std::string& id) const {
    if (config_.boot.kernel) return -1;
    if (!config_.boot.order.empty()) {
      auto found = std::find(config_.boot.order.begin(), config_.boot.order.end(), id);
      return found == config_.boot.order.end()
                 ? -1
                 : static_cast<int>(found - config_.boot.order.begin());
    }
    // With no order given: the disks as they stand; the network only where there is no disk.
    auto place = [&id](const auto& list) {
      auto found =
          std::find_if(list.begin(), list.end(), [&](const auto& d) { return d.id == id; });
      return found == list.end() ? -1 : static_cast<int>(found - list.begin());
    };
    if (!config_.disks.empty()) return place(config_.disks);
    return find_vfio(id) != nullptr ? -1 : place(config_.nics);
  }

  // With the controller that it needs, unless that stands in the list.
  static void append(std::vector<DeviceDescription>& list, DeviceDescription device) {
    const std::string& controller = device.controller;
    if (!controller.empty() &&
        std::none_of(list.begin(), list.end(),
                     [&](const DeviceDescription& other) { return other.id == controller; })) {
      list.push_back(describe_controller(controller));
    }
    list.push_back(std::move(device));
  }

  void devices() {
    std::vector<DeviceDescription> list;
    for (std::size_t i = 0; i < config_.iothreads.size(); ++i) {
      list.push_back(describe_iothread(config_.iothreads[i], fmt::format("iothreads[{}]", i)));
    }
    for (std::size_t i = 0; i < config_.serial.size(); ++i) {
      const std::string origin = fmt::format("serial[{}]", i);
      list.push_back(
          describe_serial(config_.serial[i], origin, static_cast<int>(i), fds_.naming(origin)));
    }
    for (std::size_t i = 0; i < config_.channels.size(); ++i) {
      const std::string origin = fmt::format("channels[{}]", i);
      append(list, describe_channel(config_.channels[i], origin, fds_.naming(origin)));
    }
    if (has_panic_device(config_, input_.caps)) list.push_back(describe_panic());
    if (config_.watchdog) {
      std::optional<DeviceDescription> watchdog = describe_watchdog(*config_.watchdog);
      if (watchdog) list.push_back(std::move(*watchdog));
    }
    for (std::size_t i = 0; i < config_.disks.size(); ++i) {
      const DiskConfig& disk = config_.disks[i];
      const std::string origin = fmt::format("disks[{}]", i);
      append(list, describe_disk(disk, origin, bootindex(disk.id), plan_.disk_files[disk.id],
                                 fds_.disk_naming(disk.id, origin)));
    }
    for (std::size_t i = 0; i < config_.nics.size(); ++i) {
      const NicConfig& nic = config_.nics[i];
      if (nic.type == NicType::kVf) continue;
      const std::string origin = fmt::format("nics[{}]", i);
      list.push_back(describe_nic(
          nic, {.origin = origin, .vm_name = config_.name, .bootindex = bootindex(nic.id)},
          plan_.host_ends[i], plan_.nic_forms, fds_.naming(origin)));
    }
    const std::size_t first_passed = list.size();
    for (const PassedDevice& passed : plan_.passed) list.push_back(describe_passed(passed));
    if (config_.rng) list.push_back(describe_rng("vmrig-rng0", "rng"));
    for (std::size_t i = 0; i < config_.rngs.size(); ++i) {
      list.push_back(describe_rng(config_.rngs[i].id, fmt::format("rngs[{}]", i)));
    }
    if (config_.balloon) list.push_back(describe_balloon(balloon_wish()));
    for (std::size_t i = 0; i < config_.memory.devices.size(); ++i) {
      const MemoryDeviceConfig& memory = config_.memory.devices[i];
      list.push_back(describe_memory_device(memory, backend_of(parts_[ram_parts_ + i]),
                                            fmt::format("memory.devices[{}]", i)));
    }
    for (std::size_t i = 0; i < usb_.size(); ++i) {
      const std::string origin = fmt::format("usb[{}]", i);
      append(list, describe_usb(usb_[i], origin, plan_.disk_files[usb_[i].id],
                                fds_.disk_naming(usb_[i].id, origin)));
    }

    PciSlots slots(config_.machine.type == MachineType::kQ35 ? PciLayout::kPcie
                                                             : PciLayout::kConventional);
    try {
      const std::map<int, int> roots = add_roots(slots);
      for (std::size_t i = 0; i < list.size(); ++i) {
        const bool is_passed = i >= first_passed && i < first_passed + plan_.passed.size();
        std::optional<int> root;
        if (is_passed) {
          const auto found = roots.find(plan_.passed[i - first_passed].node);
          if (found != roots.end()) root = found->second;
        }
        const std::vector<SlotFunction> functions =
            is_passed ? slot_mates(i - first_passed, first_passed, list)
                      : std::vector<SlotFunction>();
        if (functions.size() > 1) slots.place_together(functions, root);
        for (FrontEnd& front_end : list[i].front_ends) {
          if (front_end.bus == FrontEnd::Bus::kPci && !front_end.props.contains("bus")) {
            slots.place(front_end, root);
          }
        }
      }
    } catch (const Error& full) {
      add(finding(Severity::kProblem, "machine.type", full.what(), full.parts().mend,
                  full.status()));
    }
    slots.add_spare_ports(config_.machine.hotplug_ports);
    for (const DeviceDescription& port : slots.ports()) device(port);
    if (uses_iommufd_) {
      device(describe_iommufd(fds_.naming("rule: iommufd")));
    }
    for (const DeviceDescription& description : list) device(description);
  }

  // The PCI roots that guest nodes are to have, by the host's node.
  std::map<int, int> add_roots(PciSlots& slots) const {
    std::map<int, int> roots;
    const std::vector<GuestCell>& cells = plan_.placement.cells;
    for (std::size_t i = 0; i < cells.size(); ++i) {
      if (!cells[i].pxb) continue;
      const int root = slots.add_root(static_cast<int>(i));
      if (cells[i].node) roots.emplace(*cells[i].node, root);
    }
    return roots;
  }

  // A balloon, and the report of free pages, give single pages back: memory that has to be there,
  // or comes in hugepages, stays with QEMU whatever the guest says. Source: qemu
  // hw/virtio/virtio-balloon.c, softmmu/physmem.c ram_block_discard_disable.
  BalloonWish balloon_wish() {
    BalloonWish wish{.origin = "balloon"};
    std::string why;
    const auto refuse = [&why](const char* reason) {
      why += (why.empty() ? "" : ", ") + std::string(reason);
    };
    if (plan_.hugepages != HugepageSize::kNone) refuse("the memory is hugepages");
    if (!plan_.passed.empty()) refuse("VFIO devices need all of it");
    if (config_.memory.lock) refuse("it is locked");
    wish.reports_free_pages = why.empty() && !config_.memory.prealloc;
    if (!why.empty()) {
      add(finding(Severity::kWarning, "balloon",
                  "the guest will give memory away, and the host gets none of it: " + why,
                  R"("balloon": false)"));
    }
    return wish;
  }

  // By feature: this QEMU takes both fds, and this host has both nodes.
  bool has_iommufd() const {
    const VfioFacts& vfio = input_.facts.vfio;
    return vfio.iommufd.opens && vfio.cdev && input_.caps.has_object("iommufd") &&
           input_.caps.has_device_property("vfio-pci", "iommufd") &&
           input_.caps.has_device_property("vfio-pci", "fd");
  }

  DeviceDescription describe_passed(const PassedDevice& passed) {
    VfioFrontEnd front_end{.id = passed.id,
                           .origin = passed.origin,
                           .address = passed.address,
                           .access = has_iommufd() ? VfioAccess::kIommufd : VfioAccess::kGroup,
                           .rombar = {},
                           .romfile = {},
                           .bootindex = bootindex(passed.id)};
    uses_iommufd_ = has_iommufd();
    const VfioConfig* vfio = find_vfio(passed.id);
    if (vfio != nullptr) {
      front_end.rombar = vfio->rombar;
      front_end.romfile = vfio->romfile;
      if (vfio->romfile && !vfio->romfile->empty()) {
        front_end.romfile = fds_.readable(*vfio->romfile, input_.facts, passed.origin);
      }
      front_end.properties = vfio->properties;
    } else if (front_end.bootindex < 0) {
      front_end.romfile = "";  // no network boot: the firmware need not load the option ROM
    }
    return describe_vfio(front_end, fds_.naming(passed.origin));
  }

  const VfioConfig* find_vfio(const std::string& id) const {
    const auto found = std::find_if(config_.vfio.begin(), config_.vfio.end(),
                                    [&](const VfioConfig& vfio) { return vfio.id == id; });
    return found == config_.vfio.end() ? nullptr : &*found;
  }

  // The functions that share the slot of the passed device `index`, itself among them; `first` is
  // the place in `list` of the first that is passed. VFs of one
  // PF are devices of their own, although their addresses look like functions of one.
  std::vector<SlotFunction> slot_mates(std::size_t index, std::size_t first,
                                       std::vector<DeviceDescription>& list) {
    const auto shares = [this](const PassedDevice& device) {
      const VfioConfig* vfio = find_vfio(device.id);
      return vfio != nullptr && vfio->multifunction && !device.pf;
    };
    const PassedDevice& one = plan_.passed[index];
    std::vector<SlotFunction> functions;
    if (!shares(one)) return functions;
    for (std::size_t i = 0; i < plan_.passed.size(); ++i) {
      const PciAddress& a = plan_.passed[i].address;
      const PciAddress& b = one.address;
      if (!shares(plan_.passed[i]) || a.domain != b.domain || a.bus != b.bus ||
          a.device != b.device) {
        continue;
      }
      FrontEnd& front_end = list[first + i].front_ends.front();
      if (front_end.props.contains("bus")) return {};  // placed with the first of them
      functions.push_back({&front_end, a.function});
    }
    return functions;
  }

  void boot() {
    const BootConfig& boot = config_.boot;
    const auto file = [this](const char* name, const std::optional<std::string>& path) {
      if (!path) return;
      const std::string origin = std::string("boot.") + name;
      std::string readable = fds_.readable(*path, input_.facts, origin);
      option({std::string("-") + name, std::move(readable)}, origin);
    };
    file("kernel", boot.kernel);
    file("initrd", boot.initrd);
    if (boot.cmdline) option({"-append", *boot.cmdline}, "boot.cmdline");
  }

  const PlanInput& input_;
  const VmConfig& config_;
  Plan plan_;
  ChildFdPlan fds_{plan_};
  bool uses_iommufd_ = false;
  KvmAccess kvm_access_ = KvmAccess::kOpen;
  std::vector<MemoryPart> parts_;  // the RAM, then memory.devices
  std::size_t ram_parts_ = 0;
  std::vector<UsbConfig> usb_;  // of the config, each host device settled
};

}  // namespace

std::vector<std::string> Plan::argv() const {
  std::vector<std::string> words = {qemu};
  for (const QemuArgument& argument : arguments) {
    words.insert(words.end(), argument.words.begin(), argument.words.end());
  }
  return words;
}

std::vector<Diagnostic> Plan::problems() const {
  std::vector<Diagnostic> list;
  std::copy_if(preflight.begin(), preflight.end(), std::back_inserter(list),
               [](const Diagnostic& d) { return d.severity == Severity::kProblem; });
  return list;
}

void Plan::require_good() const {
  std::vector<Diagnostic> list = problems();
  if (!list.empty()) throw DiagnosticsError(std::move(list));
}

Plan make_plan(const PlanInput& input) { return Planner(input).make(); }

void claim_devices(const VmConfig& config, const std::map<std::string, DiskFiles>& files,
                   Lease& claim) {
  claim.written_disks.clear();
  claim.read_disks.clear();
  claim.macs.clear();
  claim.interfaces.clear();
  for (const auto& [disk, origin] : storages_of(config)) {
    std::vector<std::string>& own = disk.readonly ? claim.read_disks : claim.written_disks;
    own.push_back(disk.path);
    const auto known = files.find(disk.id);
    if (known == files.end()) continue;
    if (known->second.data) own.push_back(known->second.data->path);
    for (const ImageLayer& layer : known->second.backing) {
      claim.read_disks.push_back(layer.file.path);
      if (layer.data) claim.read_disks.push_back(layer.data->path);
    }
  }
  for (const NicConfig& nic : config.nics) {
    if (has_shared_network(nic)) claim.macs.push_back(mac_of(nic, config.name));
    std::string interface = interface_name(nic, config.name);
    if (!interface.empty()) claim.interfaces.push_back(std::move(interface));
  }
}

}  // namespace vmrig
