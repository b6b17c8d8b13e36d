#include "launcher/qemu_failure.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <vector>

namespace vmrig {
namespace {

constexpr std::size_t kMaxLines = 8;
constexpr std::size_t kMaxLineBytes = 600;

// `pattern` in QEMU's words (any letter case) means this fault. The texts only explain: that
// QEMU failed is known by its exit.
struct KnownFault {
  std::string_view pattern;
  ExitStatus status;
  std::string_view mend;
};

constexpr std::array kKnownFaults = {
    KnownFault{"failed to get \"write\" lock", ExitStatus::kBusy,
               "another process has this disk open for writing; find it with: fuser -v DISK"},
    KnownFault{"failed to get shared \"write\" lock", ExitStatus::kBusy,
               "another process has this disk open for writing; find it with: fuser -v DISK"},
    KnownFault{"failed to get \"consistent read\" lock", ExitStatus::kBusy,
               "another process has this disk open for writing; find it with: fuser -v DISK"},
    KnownFault{"unable to map backing store for guest ram", ExitStatus::kHost,
               "more hugepages on the VM's node: vmrig host facts shows the pools"},
    KnownFault{"mlockall: ", ExitStatus::kHost,
               "raise the memlock limit (ulimit -l unlimited), or memory.lock: false"},
    KnownFault{"cannot set up guest memory", ExitStatus::kHost,
               "a smaller memory.size, or free memory on the host"},
    KnownFault{"no iommu_group found", ExitStatus::kHost,
               "switch the IOMMU on: kernel parameter intel_iommu=on, or amd_iommu=on"},
    KnownFault{"is not viable", ExitStatus::kHost,
               "bind every device of that IOMMU group to vfio-pci"},
    KnownFault{"could not access kvm kernel module", ExitStatus::kHost,
               "load kvm_intel or kvm_amd, join the group kvm, or machine.accel: \"tcg\""},
    KnownFault{"failed to initialize kvm", ExitStatus::kHost,
               "load kvm_intel or kvm_amd, join the group kvm, or machine.accel: \"tcg\""},
    KnownFault{"kvm_intel: ", ExitStatus::kHost, "machine.accel: \"tcg\""},
    KnownFault{"could not configure /dev/net/tun", ExitStatus::kHost,
               "a tap's queues must be as many as the NIC's; nobody else may use it"},
    KnownFault{"address already in use", ExitStatus::kBusy,
               "choose another port or path: it is taken on this host"},
    KnownFault{"could not set up host forwarding rule", ExitStatus::kBusy,
               "choose another host port: it is taken, or not allowed to this user"},
    KnownFault{"permission denied", ExitStatus::kHost,
               "give the user that runs vmrig access to the file named"},
    KnownFault{"no space left on device", ExitStatus::kHost, "free space on that file system"},
};

std::string lower(std::string_view text) {
  std::string copy(text);
  std::transform(copy.begin(), copy.end(), copy.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return copy;
}

// QEMU prefixes each line with its name, and with -msg timestamp=on with the time.
std::string_view without_prefix(std::string_view line) {
  constexpr std::size_t kMaxPrefix = 80;
  const std::size_t found = line.find("qemu-system");
  if (found > kMaxPrefix) return line;  // npos, too
  const std::size_t colon = line.find(": ", found);
  return colon == std::string_view::npos ? line : line.substr(colon + 2);
}

std::string escaped(std::string_view text) {
  const std::string quoted = quote(text.substr(0, kMaxLineBytes));
  std::string inner;
  // quote() guards the terminal; its own quotation marks and their escapes are not wanted here.
  for (std::size_t index = 1; index + 1 < quoted.size(); ++index) {
    if (quoted[index] == '\\' && (quoted[index + 1] == '"' || quoted[index + 1] == '\\')) ++index;
    inner += quoted[index];
  }
  return inner;
}

// The last lines that are no mere warnings; all lines when there are only warnings.
std::string essence(std::string_view words) {
  std::vector<std::string_view> lines;
  std::vector<std::string_view> warnings;
  while (!words.empty()) {
    const std::size_t end = words.find('\n');
    std::string_view line = words.substr(0, end);
    words.remove_prefix(end == std::string_view::npos ? words.size() : end + 1);
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.remove_suffix(1);
    if (line.empty()) continue;
    line = without_prefix(line);
    (line.starts_with("warning: ") ? warnings : lines).push_back(line);
  }
  if (lines.empty()) lines = std::move(warnings);
  if (lines.size() > kMaxLines) {
    lines.erase(lines.begin(), lines.end() - static_cast<std::ptrdiff_t>(kMaxLines));
  }
  std::string text;
  for (const std::string_view line : lines) text += (text.empty() ? "" : "; ") + escaped(line);
  return text;
}

}  // namespace

Error qemu_failure(const std::string& qemu_path, const std::string& how, std::string_view words) {
  Error::Parts parts{.status = ExitStatus::kQemu,
                     .operation = "start QEMU",
                     .object = qemu_path,
                     .cause = {},
                     .mend = {}};
  const std::string text = essence(words);
  parts.cause = text.empty() ? how + ", and it said nothing" : text + " (" + how + ")";
  const std::string searched = lower(words);
  for (const KnownFault& fault : kKnownFaults) {
    if (searched.find(fault.pattern) == std::string::npos) continue;
    parts.status = fault.status;
    parts.mend = fault.mend;
    break;
  }
  return Error(std::move(parts));
}

}  // namespace vmrig
