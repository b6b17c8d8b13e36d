#include "hostcfg/kvm.hpp"

#include <string>
#include <string_view>

namespace vmrig {

void read_cpu_flags(const FolderReader& root, HostFacts& facts) {
  constexpr std::size_t kLimit = std::size_t{16} * 1024;
  const std::string first = root.text("proc/cpuinfo", kLimit, "\n\n").value_or(std::string{});
  std::string_view text = first;
  while (!text.empty()) {
    const std::string_view line = take_line(text);
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    const std::string_view key = trimmed(line.substr(0, colon));
    std::string_view value = trimmed(line.substr(colon + 1));
    if (key == "vendor_id") {
      facts.cpu_vendor = value;
    } else if (key == "model name") {
      facts.cpu_model = value;
    } else if (key == "flags") {
      while (!value.empty()) {
        const std::string_view flag = take_word(value);
        facts.vmx |= flag == "vmx";
        facts.svm |= flag == "svm";
        facts.pdpe1gb |= flag == "pdpe1gb";
        facts.hypervisor |= flag == "hypervisor";
      }
    }
  }
}

}  // namespace vmrig
