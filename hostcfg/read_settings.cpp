#include "hostcfg/read_settings.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <utility>

#include "hostcfg/base/error.hpp"
#include "hostcfg/cgroup_settings.hpp"
#include "hostcfg/folder_reader.hpp"
#include "hostcfg/mounts.hpp"

namespace vmrig {
namespace {

constexpr std::size_t kLimit = std::size_t{4} << 20;

// The name of an id in /etc/passwd or /etc/group: "kvm:x:106:"; the number where it has none.
std::string name_of_id(const FolderReader& root, const char* file, unsigned id) {
  const std::string content = root.text(file, kLimit).value_or(std::string{});
  std::string_view text = content;
  while (!text.empty()) {
    const std::string_view line = take_line(text);
    const std::size_t name_end = line.find(':');
    if (name_end == std::string_view::npos) continue;
    const std::size_t id_start = line.find(':', name_end + 1);
    if (id_start == std::string_view::npos) continue;
    const std::string_view rest = line.substr(id_start + 1);
    const std::string_view number = rest.substr(0, rest.find(':'));
    if (parse_number<unsigned>(number) == id) return std::string(line.substr(0, name_end));
  }
  return fmt::format("{}", id);
}

std::optional<NodeOwner> owner_of(const FolderReader& root, const char* node) {
  constexpr mode_t kPermissions = 07777;
  struct stat status {};
  if (::fstatat(root.fd(), node, &status, 0) < 0) return std::nullopt;
  return NodeOwner{.user = name_of_id(root, "etc/passwd", status.st_uid),
                   .group = name_of_id(root, "etc/group", status.st_gid),
                   .mode = status.st_mode & kPermissions};
}

std::optional<bool> read_nested(const FolderReader& root) {
  for (const char* name :
       {"sys/module/kvm_intel/parameters/nested", "sys/module/kvm_amd/parameters/nested"}) {
    const std::optional<std::string> value = root.attribute(name);
    if (value) return *value == "Y" || *value == "1";
  }
  return std::nullopt;
}

IommuSettings read_iommu(const FolderReader& root) {
  IommuSettings iommu;
  if (const auto groups = root.folder("sys/kernel/iommu_groups")) {
    for (const std::string& name : groups->names(".")) {
      ++iommu.groups;
      if (groups->attribute((name + "/type").c_str()) == "identity") ++iommu.passthrough;
    }
  }
  iommu.firmware_table =
      root.exists("sys/firmware/acpi/tables/DMAR") || root.exists("sys/firmware/acpi/tables/IVRS");
  // Nothing else tells without debugfs: the chips that remap are called "IR-IO-APIC", "IR-PCI-MSI".
  // Source: linux arch/x86/kernel/apic/io_apic.c, drivers/iommu/{intel,amd}/.
  const auto interrupts = root.text("proc/interrupts", kLimit);
  iommu.remaps_interrupts = interrupts && interrupts->find(" IR-") != std::string::npos;
  iommu.unsafe_interrupts =
      root.attribute("sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts") == "Y";
  return iommu;
}

// "0 1 2 3", with spaces.
CpuSet parse_cpu_words(std::string_view text) {
  CpuSet cpus;
  while (!(text = trimmed(text)).empty()) {
    const auto cpu = parse_number<int>(take_word(text));
    if (cpu && *cpu >= 0 && *cpu < CpuSet::kMaxCpus) cpus.insert(*cpu);
  }
  return cpus;
}

std::vector<FrequencyPolicy> read_frequency(const FolderReader& root) {
  std::vector<FrequencyPolicy> policies;
  const auto folder = root.folder("sys/devices/system/cpu/cpufreq");
  if (!folder) return policies;
  for (const std::string& name : folder->names(".")) {
    const auto governor = folder->attribute((name + "/scaling_governor").c_str());
    const auto cpus = folder->attribute((name + "/affected_cpus").c_str());
    if (!governor || !cpus) continue;
    FrequencyPolicy policy{.cpus = parse_cpu_words(*cpus),
                           .governor = std::string(trimmed(*governor))};
    if (!policy.cpus.empty()) policies.push_back(std::move(policy));
  }
  std::sort(policies.begin(), policies.end(),
            [](const auto& a, const auto& b) { return a.cpus.first() < b.cpus.first(); });
  return policies;
}

std::vector<std::string> words_of(const FolderReader& root, const char* name) {
  std::vector<std::string> list;
  const std::string content = root.attribute(name).value_or(std::string{});
  std::string_view text = content;
  while (!(text = trimmed(text)).empty()) list.emplace_back(take_word(text));
  return list;
}

// The word in brackets of "always [madvise] never".
std::string chosen_word(const FolderReader& root, const char* name) {
  for (const std::string& word : words_of(root, name)) {
    if (word.size() > 2 && word.front() == '[' && word.back() == ']') {
      return word.substr(1, word.size() - 2);
    }
  }
  return {};
}

// "ff,ffffffff": groups of 32 CPUs, the highest first.
std::optional<CpuSet> parse_cpu_mask(std::string_view text) {
  constexpr int kDigitBits = 4;
  CpuSet cpus;
  int cpu = 0;
  text = trimmed(text);
  for (std::size_t i = text.size(); i-- > 0;) {
    if (text[i] == ',') continue;
    const auto digit = parse_number<unsigned>(text.substr(i, 1), 16);
    if (!digit || cpu + kDigitBits > CpuSet::kMaxCpus) return std::nullopt;
    for (int bit = 0; bit < kDigitBits; ++bit, ++cpu) {
      if (((*digit >> static_cast<unsigned>(bit)) & 1U) != 0) cpus.insert(cpu);
    }
  }
  return cpus.empty() ? std::nullopt : std::optional(cpus);
}

// A handler is a folder of its name beside the attributes.
bool has_handler(const FolderReader& interrupt) {
  const std::vector<std::string> names = interrupt.names(".");
  return std::any_of(names.begin(), names.end(), [&interrupt](const std::string& name) {
    return interrupt.folder(name.c_str()).has_value();
  });
}

InterruptSettings read_interrupts(const FolderReader& root, const CpuSet& isolated) {
  InterruptSettings interrupts;
  const auto folder = root.folder("proc/irq");
  if (!folder) return interrupts;
  if (const auto mask = folder->attribute("default_smp_affinity")) {
    interrupts.default_cpus = parse_cpu_mask(*mask);
  }
  if (isolated.empty()) return interrupts;
  for (const std::string& name : folder->names(".")) {
    const auto number = parse_number<int>(name);
    const auto interrupt = number ? folder->folder(name.c_str()) : std::nullopt;
    if (!interrupt) continue;
    const auto allowed = interrupt->cpulist("smp_affinity_list");
    const auto served = interrupt->cpulist("effective_affinity_list");
    if (!allowed || !served || (*served & isolated).empty() || !has_handler(*interrupt)) continue;
    if (isolated.includes(*allowed)) {
      ++interrupts.bound;
    } else {
      interrupts.strays.push_back(*number);
    }
  }
  std::sort(interrupts.strays.begin(), interrupts.strays.end());
  return interrupts;
}

// "Filename Type Size Used Priority", sizes in KiB. Source: linux mm/swapfile.c swap_show.
std::vector<SwapArea> read_swap(const FolderReader& root) {
  std::vector<SwapArea> areas;
  const std::string content = root.text("proc/swaps", kLimit).value_or(std::string{});
  std::string_view text = content;
  take_line(text);  // the heading
  while (!text.empty()) {
    std::string_view line = take_line(text);
    const std::string_view path = take_word(line);
    take_word(line);  // the type
    const auto size = parse_number<std::uint64_t>(take_word(line));
    if (path.empty() || !size || *size >= std::uint64_t{1} << 50) continue;
    areas.push_back({.path = std::string(path), .size = Bytes::kib(*size)});
  }
  return areas;
}

}  // namespace

HostSettings read_host_settings(const std::string& root_path, const HostFacts& facts) {
  const std::optional<FolderReader> root = FolderReader::open(root_path);
  if (!root) throw system_error("read host settings below", root_path, errno);
  HostSettings settings;
  settings.user_name = name_of_id(*root, "etc/passwd", facts.user_id);
  settings.kvm_owner = owner_of(*root, "dev/kvm");
  settings.nested = read_nested(*root);
  settings.iommu = read_iommu(*root);
  settings.has_nohz_full = root->exists("sys/devices/system/cpu/nohz_full");
  settings.frequency = read_frequency(*root);
  settings.smt_control =
      root->attribute("sys/devices/system/cpu/smt/control").value_or(std::string{});
  constexpr const char* kClock = "sys/devices/system/clocksource/clocksource0/";
  settings.clock_source =
      root->attribute((std::string(kClock) + "current_clocksource").c_str()).value_or("");
  settings.clock_sources = words_of(*root, (std::string(kClock) + "available_clocksource").c_str());
  settings.interrupts = read_interrupts(*root, facts.isolated);
  settings.transparent_hugepages = chosen_word(*root, "sys/kernel/mm/transparent_hugepage/enabled");
  settings.ksm = root->number<int>("sys/kernel/mm/ksm/run");
  settings.numa_balancing = root->number<int>("proc/sys/kernel/numa_balancing");
  settings.swappiness = root->number<int>("proc/sys/vm/swappiness");
  settings.swap = read_swap(*root);
  settings.cgroup = read_cgroup_settings(
      *root, parse_mountinfo(root->text("proc/self/mountinfo", kLimit).value_or(std::string{})));
  return settings;
}

}  // namespace vmrig
