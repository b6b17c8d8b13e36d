#include "launcher/show_plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "hostcfg/base/error.hpp"
#include "hostcfg/base/shape_writer.hpp"
#include "launcher/network_names.hpp"
#include "launcher/show_machine_map.hpp"

namespace vmrig {
namespace {

constexpr std::size_t kLabelColumns = 15;  // "  passed over  "

std::string_view accel_name(Accel accel) { return accel == Accel::kKvm ? "kvm" : "tcg"; }

Bytes page_size(HugepageSize size) {
  return size == HugepageSize::k1GiB ? Bytes::gib(1) : Bytes::mib(2);
}

std::string join(const std::vector<std::string>& parts, std::string_view separator) {
  std::string out;
  for (const std::string& part : parts) {
    if (!out.empty()) out += separator;
    out += part;
  }
  return out;
}

// Rows of a label and a text that is wrapped beside it.
class Rows {
 public:
  explicit Rows(const PlanView& view) : view_(view) {}

  void line(const std::string& text) { out_ += text + '\n'; }
  void lines(const std::string& text) { out_ += text; }  // each with its newline
  void row(const std::string& label, const std::string& text, Style style = Style::kPlain) {
    std::string padded = label;
    const std::size_t used = columns_of(label);
    padded += used < kLabelColumns ? std::string(kLabelColumns - used, ' ') : "  ";
    out_ += styled(padded, style, view_.colour) +
            wrapped(text, view_.columns, std::max(kLabelColumns, columns_of(padded))) + '\n';
  }
  std::string take() { return std::move(out_); }

 private:
  const PlanView& view_;
  std::string out_;
};

std::string version_text(const qmp::QemuCaps::Version& version) {
  return fmt::format("{}.{}.{}", version.major, version.minor, version.micro);
}

std::string node_text(const Plan& plan, const PlanView& view) {
  const std::optional<int> node = plan.placement.node;
  if (!node) return view.host_nodes > 1 ? fmt::format("any of {} nodes", view.host_nodes) : "";
  return view.host_nodes > 0 ? fmt::format("node {} of {}", *node, view.host_nodes)
                             : fmt::format("node {}", *node);
}

std::string head(const Plan& plan, const PlanView& view) {
  std::string accel(accel_name(plan.accel));
  if (!plan.accel_reason.empty()) accel += fmt::format(" ({})", printable(plan.accel_reason));
  std::string text = styled(printable(plan.config.name), Style::kBold, view.colour);
  const std::string node = node_text(plan, view);
  if (!node.empty()) text += "   " + node;
  text += fmt::format("   {}, {}   QEMU {}", name_of(plan.config.machine.type), accel,
                      version_text(plan.qemu_version));
  return text;
}

// "0>8", one a vCPU; of many, those that follow each other together: "0-79>8-87".
std::vector<std::string> vcpu_runs(const ThreadPlacement& placement, std::size_t present) {
  constexpr std::size_t kMostShownSingly = 16;
  const std::size_t count = std::min(present, placement.vcpus.size());
  const auto follows = [&](std::size_t i) {
    const CpuSet& before = placement.vcpus[i - 1];
    const CpuSet& cpus = placement.vcpus[i];
    return before.size() == 1 && cpus.size() == 1 && cpus.first() == before.first() + 1;
  };
  std::vector<std::string> parts;
  for (std::size_t i = 0; i < count;) {
    std::size_t end = i + 1;
    while (count > kMostShownSingly && end < count && follows(end)) ++end;
    const CpuSet& cpus = placement.vcpus[i];
    if (end > i + 1) {
      parts.push_back(
          fmt::format("{}-{}>{}-{}", i, end - 1, cpus.first(), placement.vcpus[end - 1].first()));
    } else {
      parts.push_back(fmt::format("{}>{}", i, cpus.empty() ? "any" : cpus.to_string()));
    }
    i = end;
  }
  return parts;
}

std::string vcpus_text(const Plan& plan) {
  const ThreadPlacement& placement = plan.placement;
  const auto present = static_cast<std::size_t>(plan.config.cpu.vcpus);
  const bool pinned = std::any_of(placement.vcpus.begin(), placement.vcpus.end(),
                                  [](const CpuSet& cpus) { return !cpus.empty(); });
  std::string text =
      pinned ? join(vcpu_runs(placement, present), " ") : fmt::format("{}, not pinned", present);
  const int max_vcpus = plan.config.cpu.max_vcpus.value_or(plan.config.cpu.vcpus);
  if (max_vcpus > plan.config.cpu.vcpus) text += fmt::format("    up to {}", max_vcpus);
  const ThreadScheduler& scheduler = plan.config.cpu.scheduler;
  if (scheduler.is_realtime()) text += "    " + to_string(scheduler);
  text += placement.emulator.empty()
              ? "    emulator not pinned"
              : fmt::format("    emulator {}", placement.emulator.to_string());
  for (const auto& [id, cpus] : placement.iothreads) {
    text += fmt::format("    {} {}", printable(id), cpus.empty() ? "any" : cpus.to_string());
  }
  return text;
}

bool is_pinned(const ThreadPlacement& placement) {
  return !placement.emulator.empty() || !placement.iothreads.empty() ||
         std::any_of(placement.vcpus.begin(), placement.vcpus.end(),
                     [](const CpuSet& cpus) { return !cpus.empty(); });
}

// "guest node 0  vCPUs 0-3, 4GiB of node 0".
std::string cell_text(const GuestCell& cell, std::size_t index) {
  std::string text = fmt::format("guest node {}: vCPUs {}, {}", index, cell.vcpus.to_string(),
                                 to_string(cell.memory));
  if (cell.node) {
    text += fmt::format(" {} node {}", cell.bound ? "bound to" : "near", *cell.node);
  }
  if (cell.pxb) text += ", with a PCI root";
  return text;
}

std::string memory_text(const Plan& plan) {
  const MemoryConfig& memory = plan.config.memory;
  std::string text = to_string(memory.size);
  if (plan.hugepages != HugepageSize::kNone) {
    const Bytes page = page_size(plan.hugepages);
    text += fmt::format(" = {} x {}", memory.size.value / page.value, to_string(page));
  } else {
    text += ", ordinary pages";
  }
  if (plan.placement.node) text += fmt::format(", bound to node {}", *plan.placement.node);
  if (memory.policy != MemoryPolicy::kBind && !plan.memory_nodes.empty()) {
    text += fmt::format(", {} {} {}",
                        memory.policy == MemoryPolicy::kPreferred ? "preferred" : "interleaved",
                        memory.policy == MemoryPolicy::kPreferred ? "from node" : "over nodes",
                        plan.memory_nodes.to_string());
  }
  if (memory.prealloc) text += ", preallocated";
  if (memory.lock) text += memory.lock_on_fault ? ", locked on fault" : ", locked";
  text += memory.merge ? ", may be merged" : ", not merged";
  if (memory.max) text += fmt::format(", up to {}", to_string(*memory.max));
  if (plan.config.balloon) text += ", balloon";
  return text;
}

std::string user_text(const Plan& plan) {
  std::string text = "user " + printable(describe(plan.user));
  if (plan.user.keeps_ipc_lock) {
    text += ", CAP_IPC_LOCK alone";
  } else {
    text += ", no capabilities";
  }
  text += plan.config.security.sandbox ? ", sandboxed" : ", no sandbox";
  return text;
}

std::string disk_text(const DiskConfig& disk) {
  std::string text = fmt::format("{} {} {}, cache {}", printable(disk.id), quote(disk.path),
                                 name_of(effective_format(disk)), name_of(disk.cache));
  if (disk.bus != DiskBus::kVirtio) text += fmt::format(", {}", name_of(disk.bus));
  if (disk.readonly) text += ", read-only";
  if (disk.iothread) text += fmt::format(", {}", printable(*disk.iothread));
  if (disk.throttle) text += ", " + describe_throttle(*disk.throttle);
  return text;
}

const PassedDevice* find_passed(const Plan& plan, const std::string& id) {
  for (const PassedDevice& device : plan.passed) {
    if (device.id == id) return &device;
  }
  return nullptr;
}

NicHostEnd host_end_of(const Plan& plan, const NicConfig& nic) {
  for (std::size_t i = 0; i < plan.host_ends.size(); ++i) {
    if (plan.config.nics[i].id == nic.id) return plan.host_ends[i];
  }
  return {};
}

std::string nic_text(const Plan& plan, const NicConfig& nic) {
  if (nic.type == NicType::kVf) {
    const PassedDevice* device = find_passed(plan, nic.id);
    return fmt::format("{} {}", printable(nic.id),
                       device == nullptr ? "vf, none" : printable(device_text(*device)));
  }
  std::string text =
      fmt::format("{} {}, {}", printable(nic.id),
                  printable(host_end_text(nic, host_end_of(plan, nic))), name_of(nic.model));
  for (const std::string& forward : nic.forward) {
    text += fmt::format(", forward {}", printable(forward));
  }
  return text;
}

std::string vfio_text(const Plan& plan, const VfioConfig& vfio) {
  const PassedDevice* device = find_passed(plan, vfio.id);
  return fmt::format("{} {}", printable(vfio.id),
                     device == nullptr ? "none" : printable(device_text(*device)));
}

std::string usb_text(const UsbConfig& usb) {
  std::string text = fmt::format("{} {}", printable(usb.id), name_of(usb.type));
  if (usb.path) text += fmt::format(" {}", quote(*usb.path));
  if (usb.readonly) text += ", read-only";
  if (const std::optional<UsbIds> ids = usb_ids(usb)) {
    text += fmt::format(" {:04x}:{:04x}", ids->vendor, ids->product);
  }
  if (usb.bus && usb.address) text += fmt::format(" bus {}, address {}", *usb.bus, *usb.address);
  return text;
}

// What will be done to the host, with its undo in a column of its own.
void show_host_steps(const Plan& plan, const PlanView& view, Rows& rows) {
  if (plan.host_steps.empty()) return;
  std::vector<std::string> left;
  std::size_t width = 0;
  for (std::size_t i = 0; i < plan.host_steps.size(); ++i) {
    const HostStep& step = plan.host_steps[i];
    std::string label = fmt::format("  {} {}", i + 1, action_kind(step.action));
    label.resize(std::max(label.size() + 2, kLabelColumns), ' ');
    left.push_back(label + printable(step.text));
    width = std::max(width, columns_of(left.back()));
  }
  constexpr std::size_t kGap = 3;
  // In a column of their own where the terminal is wide enough for all, else each below its step.
  const bool beside =
      std::all_of(plan.host_steps.begin(), plan.host_steps.end(), [&](const HostStep& step) {
        return width + kGap + columns_of(printable(step.undo)) <= view.columns;
      });
  const std::string title = "host steps";
  std::string head_line = styled(title, Style::kBold, view.colour);
  if (beside) {
    head_line += std::string(width + kGap - columns_of(title), ' ') +
                 styled("undo", Style::kBold, view.colour);
  }
  rows.line(head_line);
  for (std::size_t i = 0; i < left.size(); ++i) {
    const std::string undo = printable(plan.host_steps[i].undo);
    if (beside) {
      rows.line(left[i] + std::string(width + kGap - columns_of(left[i]), ' ') + undo);
    } else {
      rows.line(left[i]);
      rows.line(std::string(kLabelColumns, ' ') + "undo: " + undo);
    }
  }
}

std::string_view fd_kind_name(FdSource::Kind kind) {
  switch (kind) {
    case FdSource::Kind::kListeningSocket:
      return "listening socket";
    case FdSource::Kind::kIommufd:
      return "iommufd";
    case FdSource::Kind::kVfioDevice:
      return "vfio device";
    case FdSource::Kind::kTapQueue:
      return "tap queue";
    case FdSource::Kind::kMacvtapQueue:
      return "macvtap queue";
    case FdSource::Kind::kVhostNet:
      return "vhost-net";
    case FdSource::Kind::kPasst:
      return "passt";
    case FdSource::Kind::kMemory:
      return "memory";
    case FdSource::Kind::kImage:
      return "image";
    case FdSource::Kind::kLogFile:
      return "log file";
    case FdSource::Kind::kKvm:
      return "kvm";
    case FdSource::Kind::kCopy:
      return "copy in memory";
  }
  return "";
}

Json passed_json(const PassedDevice& device) {
  Json out = {{"id", device.id},
              {"origin", device.origin},
              {"address", device.address.to_string()},
              {"node", device.node}};
  if (device.pf) {
    out["pf"] = device.pf->to_string();
    out["vf_index"] = device.vf_index;
    out["is_new"] = device.is_new;
  }
  return out;
}

std::string preflight_counts(const std::vector<Diagnostic>& findings) {
  const auto count = [&](Severity severity) {
    return std::count_if(findings.begin(), findings.end(),
                         [&](const Diagnostic& d) { return d.severity == severity; });
  };
  std::vector<std::string> parts = {fmt::format("{} ok", count(Severity::kOk))};
  const auto warnings = count(Severity::kWarning);
  const auto problems = count(Severity::kProblem);
  if (warnings > 0) parts.push_back(fmt::format("{} warning{}", warnings, warnings > 1 ? "s" : ""));
  if (problems > 0) parts.push_back(fmt::format("{} problem{}", problems, problems > 1 ? "s" : ""));
  return join(parts, ", ");
}

void show_findings(const Plan& plan, Rows& rows) {
  rows.row("preflight", preflight_counts(plan.preflight), Style::kBold);
  for (const Severity severity : {Severity::kProblem, Severity::kWarning}) {
    for (const Diagnostic& finding : plan.preflight) {
      if (finding.severity != severity) continue;
      const std::string path = finding.path.empty() ? "" : printable(finding.path) + ": ";
      rows.row(fmt::format("  {}", severity_name(severity)), path + printable(finding.message),
               severity == Severity::kProblem ? Style::kProblem : Style::kWarning);
      // Not wrapped: a command is there to be copied.
      if (!finding.mend.empty()) {
        rows.line(std::string(kLabelColumns, ' ') + "mend: " + printable(finding.mend));
      }
    }
  }
}

std::size_t word_count(const Plan& plan) { return plan.argv().size() - 1; }

std::vector<std::string> escaped(const std::vector<std::string>& texts) {
  std::vector<std::string> out;
  out.reserve(texts.size());
  for (const std::string& text : texts) out.push_back(printable(text));
  return out;
}

Json finding_json(const Diagnostic& finding) {
  Json out = {{"severity", severity_name(finding.severity)}, {"message", finding.message}};
  if (!finding.path.empty()) out["path"] = finding.path;
  if (!finding.mend.empty()) out["mend"] = finding.mend;
  if (finding.severity == Severity::kProblem) out["status"] = static_cast<int>(finding.status);
  return out;
}

Json placement_json(const ThreadPlacement& placement) {
  Json vcpus = Json::array();
  for (const CpuSet& cpus : placement.vcpus) vcpus.push_back(cpus.to_string());
  Json vhost = Json::array();
  for (const CpuSet& cpus : placement.vhost) vhost.push_back(cpus.to_string());
  Json iothreads = Json::object();
  for (const auto& [id, cpus] : placement.iothreads) iothreads[id] = cpus.to_string();
  Json cells = Json::array();
  for (const GuestCell& cell : placement.cells) cells.push_back(to_json(cell));
  return {{"vcpus", std::move(vcpus)},
          {"emulator", placement.emulator.to_string()},
          {"iothreads", std::move(iothreads)},
          {"vhost", std::move(vhost)},
          {"node", placement.node ? Json(*placement.node) : Json(nullptr)},
          {"cells", std::move(cells)},
          {"reasons", placement.reasons},
          {"passed_over", placement.passed_over}};
}

}  // namespace

std::string show_plan(const Plan& plan, const PlanView& view) {
  Rows rows(view);
  rows.line(head(plan, view));
  const ThreadPlacement& placement = plan.placement;
  if (!placement.reasons.empty()) {
    rows.row(placement.node ? fmt::format("  why node {}", *placement.node) : "  why",
             join(escaped(placement.reasons), "; "));
  }
  rows.row("  vCPUs", vcpus_text(plan));
  rows.row("  memory", memory_text(plan));
  for (std::size_t i = 0; i < placement.cells.size(); ++i) {
    rows.row(i == 0 ? "  numa" : "", cell_text(placement.cells[i], i));
  }
  rows.row("  QEMU", user_text(plan));
  for (const DiskConfig& disk : plan.config.disks) {
    rows.row(&disk == &plan.config.disks.front() ? "  disks" : "", disk_text(disk));
  }
  for (const NicConfig& nic : plan.config.nics) {
    rows.row(&nic == &plan.config.nics.front() ? "  nics" : "", nic_text(plan, nic));
  }
  for (const VfioConfig& vfio : plan.config.vfio) {
    rows.row(&vfio == &plan.config.vfio.front() ? "  vfio" : "", vfio_text(plan, vfio));
  }
  for (const UsbConfig& usb : plan.config.usb) {
    rows.row(&usb == &plan.config.usb.front() ? "  usb" : "", usb_text(usb));
  }
  if (!placement.passed_over.empty()) {
    rows.row("  passed over", join(escaped(placement.passed_over), ", "));
  }
  if (!view.machine.nodes.empty() && is_pinned(placement)) {
    rows.lines(show_machine_map(
        view.machine, {.colour = view.colour, .columns = view.columns, .vm = plan.config.name}));
  }
  show_host_steps(plan, view, rows);
  show_findings(plan, rows);
  rows.row(
      "command",
      fmt::format("{}, {} arguments (--argv prints them)", printable(plan.qemu), word_count(plan)),
      Style::kBold);
  return rows.take();
}

Json to_json(const Plan& plan) {
  Json arguments = Json::array();
  for (const QemuArgument& argument : plan.arguments) {
    arguments.push_back({{"words", argument.words}, {"origin", argument.origin}});
  }
  Json fds = Json::array();
  for (const ChildFd& fd : plan.fds) {
    fds.push_back(
        {{"number", fd.number}, {"kind", fd_kind_name(fd.source.kind)}, {"name", fd.source.name}});
  }
  Json regions = Json::array();
  for (const MemoryRegion& region : plan.regions) {
    regions.push_back({{"name", region.name},
                       {"size", region.size.value},
                       {"page_size", region.page_size.value},
                       {"policy", name_of(region.policy)},
                       {"nodes", region.nodes.to_string()},
                       {"mount", region.mount},
                       {"cpus", region.cpus.to_string()}});
  }
  Json preflight = Json::array();
  for (const Diagnostic& finding : plan.preflight) preflight.push_back(finding_json(finding));
  Json steps = Json::array();
  for (const HostStep& step : plan.host_steps) {
    steps.push_back({{"action", to_json(step.action)}, {"text", step.text}, {"undo", step.undo}});
  }
  Json passed = Json::array();
  for (const PassedDevice& device : plan.passed) passed.push_back(passed_json(device));
  VmConfig config = plan.config;  // the writer visits by reference and changes nothing
  return {
      {"config", write_shape([&](Shape& shape) { visit(shape, config); })},
      {"qemu", {{"path", plan.qemu}, {"version", version_text(plan.qemu_version)}}},
      {"accel", {{"name", accel_name(plan.accel)}, {"reason", plan.accel_reason}}},
      {"hugepages", name_of(plan.hugepages)},
      {"placement", placement_json(plan.placement)},
      {"arguments", std::move(arguments)},
      {"fds", std::move(fds)},
      {"regions", std::move(regions)},
      {"passed", std::move(passed)},
      {"host_steps", std::move(steps)},
      {"cgroup", plan.cgroup},
      {"user", to_json(plan.user)},
      {"locked_memory", plan.locked_memory == LockedMemory::kUnlimited ? "unlimited" : "as it is"},
      {"preflight", std::move(preflight)},
      {"claim", to_json(plan.claim)}};
}

}  // namespace vmrig
