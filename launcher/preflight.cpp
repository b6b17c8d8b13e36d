#include "launcher/preflight.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace vmrig {
namespace {

const PathFacts* find_path(const HostFacts& facts, const std::string& path) {
  auto found = facts.paths.find(path);
  return found == facts.paths.end() ? nullptr : &found->second;
}

bool contains(const std::vector<std::string>& list, const std::string& item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

// The file has to be there, and to be something that QEMU can read. False when it is not.
bool check_file(const PathFacts& file, const std::string& where, const std::string& path,
                bool needs_write, std::vector<Diagnostic>& findings) {
  using Type = PathFacts::Type;
  if (file.type == Type::kMissing) {
    findings.push_back(finding(
        Severity::kProblem, where,
        fmt::format("{}: {}", quote(path), file.error.empty() ? "no such file" : file.error), {},
        ExitStatus::kUsage));
    return false;
  }
  if (file.type != Type::kFile && file.type != Type::kBlockDevice) {
    findings.push_back(finding(Severity::kProblem, where,
                               fmt::format("{} is a {}, a file or block device is needed",
                                           quote(path), path_type_name(file.type)),
                               {}, ExitStatus::kUsage));
    return false;
  }
  if (!file.readable || (needs_write && !file.writable)) {
    findings.push_back(finding(
        Severity::kProblem, where,
        fmt::format("{} can't be {}{}", quote(path), file.readable ? "written" : "read",
                    file.error.empty() ? "" : ": " + file.error),
        needs_write && file.readable ? R"("readonly": true, or change the file's owner or mode)"
                                     : "change the file's owner or mode"));
    return false;
  }
  return true;
}

// True when another VM, or this one, has it.
bool check_disk_holder(const PlanInput& input, const DiskConfig& disk, const std::string& where,
                       std::vector<Diagnostic>& findings) {
  for (const Lease& lease : input.leases) {
    const bool written = contains(lease.written_disks, disk.path);
    const bool read = contains(lease.read_disks, disk.path);
    if (!written && (!read || disk.readonly)) continue;
    findings.push_back(finding(
        Severity::kProblem, where,
        fmt::format(
            "{} is in use by {}", quote(disk.path),
            lease.vm == input.config.name ? "this very VM" : fmt::format("VM \"{}\"", lease.vm)),
        fmt::format("vmrig {} {}", lease.vm == input.config.name ? "status" : "stop", lease.vm),
        ExitStatus::kBusy));
    return true;
  }
  return false;
}

}  // namespace

Diagnostic finding(Severity severity, std::string path, std::string message, std::string mend,
                   ExitStatus status) {
  return {.severity = severity,
          .status = status,
          .path = std::move(path),
          .message = std::move(message),
          .mend = std::move(mend),
          .file = {},
          .line = 0};
}

void check_disks(const PlanInput& input, std::vector<Diagnostic>& findings) {
  const std::vector<Storage> storages = storages_of(input.config);
  for (std::size_t i = 0; i < storages.size(); ++i) {
    const auto& [disk, origin] = storages[i];
    const std::string where = origin + ".path";
    for (std::size_t j = 0; j < i; ++j) {
      const DiskConfig& other = storages[j].disk;
      if (other.path == disk.path && !(other.readonly && disk.readonly)) {
        findings.push_back(
            finding(Severity::kProblem, where,
                    fmt::format("{} is {} already", quote(disk.path), storages[j].origin),
                    R"("readonly": true on both)", ExitStatus::kUsage));
      }
    }
    const bool is_held = check_disk_holder(input, disk, where, findings);
    const PathFacts* file = find_path(input.facts, disk.path);
    if (file == nullptr) {
      findings.push_back(finding(Severity::kWarning, where, quote(disk.path) + " was not checked"));
      continue;
    }
    if (!check_file(*file, where, disk.path, !disk.readonly, findings)) continue;
    const std::string_view format = name_of(effective_format(disk));
    if (format == "raw" && !disk.format && !file->magic_format.empty()) {
      findings.push_back(finding(
          Severity::kProblem, origin + ".format",
          fmt::format("{} looks like {}, and its name does not say so", quote(disk.path),
                      file->magic_format),
          fmt::format("\"format\": \"{}\" (or \"raw\" if it really is)", file->magic_format),
          ExitStatus::kUsage));
    } else if (format != "raw" && file->magic_format != format) {
      findings.push_back(
          finding(Severity::kProblem, origin + ".format",
                  fmt::format("{} is no {} image{}", quote(disk.path), format,
                              file->magic_format.empty() ? "" : ", but " + file->magic_format),
                  fmt::format("\"format\": \"{}\"",
                              file->magic_format.empty() ? "raw" : file->magic_format),
                  ExitStatus::kUsage));
    } else {
      findings.push_back(finding(Severity::kOk, where, fmt::format("{} opens", quote(disk.path))));
      if (!is_held) check_image(input, disk, origin, *file, findings);
    }
    if (!input.caps.aio_modes.empty() &&
        input.caps.aio_modes.count(std::string(name_of(disk.aio))) == 0) {
      findings.push_back(finding(Severity::kProblem, origin + ".aio",
                                 fmt::format("this QEMU has no \"{}\"", name_of(disk.aio)),
                                 R"("aio": "threads")"));
    }
  }
}

void check_boot_files(const PlanInput& input, std::vector<Diagnostic>& findings) {
  const BootConfig& boot = input.config.boot;
  for (const auto& [path, where] :
       {std::pair(boot.kernel, "boot.kernel"), std::pair(boot.initrd, "boot.initrd")}) {
    if (!path) continue;
    const PathFacts* file = find_path(input.facts, *path);
    if (file == nullptr) {
      findings.push_back(finding(Severity::kWarning, where, quote(*path) + " was not checked"));
    } else if (constexpr bool kReadOnly = false;
               check_file(*file, where, *path, kReadOnly, findings)) {
      findings.push_back(finding(Severity::kOk, where, fmt::format("{} opens", quote(*path))));
    }
  }
}

void check_memory(const PlanInput& input, const Plan& plan, std::vector<Diagnostic>& findings) {
  const HostFacts& facts = input.facts;
  if (plan.hugepages == HugepageSize::kNone) {
    Bytes total;
    Bytes free;
    for (const NumaNode& node : facts.nodes) {
      if (plan.placement.node && node.id != *plan.placement.node) continue;
      total = total + node.memory_total;
      free = free + node.memory_free;
    }
    const bool now = plan.config.memory.prealloc || plan.config.memory.lock;
    if (plan.config.memory.size > total) {
      findings.push_back(finding(
          now ? Severity::kProblem : Severity::kWarning, "memory.size",
          fmt::format("{} is more than the {} MiB that {} has", to_string(plan.config.memory.size),
                      total.value >> 20, plan.placement.node ? "the node" : "this host"),
          "give the VM less memory"));
    } else if (plan.config.memory.size > free) {
      findings.push_back(finding(
          Severity::kWarning, "memory.size",
          fmt::format(
              "{} {}, {} MiB are free or can be freed: the host would be overcommitted, and "
              "have to swap or end QEMU",
              to_string(plan.config.memory.size),
              now ? "is wanted at once" : "may be used by the guest", free.value >> 20),
          "give the VM less memory, or stop another"));
    } else {
      findings.push_back(
          finding(Severity::kOk, "memory.size", fmt::format("{} MiB are free", free.value >> 20)));
    }
  }
}

void check_macs(const PlanInput& input, std::vector<Diagnostic>& findings) {
  for (std::size_t i = 0; i < input.config.nics.size(); ++i) {
    const NicConfig& nic = input.config.nics[i];
    if (!has_shared_network(nic)) continue;
    const std::string mac = mac_of(nic, input.config.name);
    for (const Lease& lease : input.leases) {
      if (!contains(lease.macs, mac)) continue;
      findings.push_back(finding(Severity::kProblem, fmt::format("nics[{}].mac", i),
                                 fmt::format("{} is in use by VM \"{}\"", mac, lease.vm),
                                 "leave \"mac\" out: vmrig makes one from the VM's name",
                                 ExitStatus::kBusy));
    }
  }
}

}  // namespace vmrig
