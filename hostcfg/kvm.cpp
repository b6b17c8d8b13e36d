#include "hostcfg/kvm.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <string>
#include <string_view>
#include <system_error>

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

DeviceFile read_kvm_device(const FolderReader& root) {
  constexpr const char* kName = "dev/kvm";
  DeviceFile device;
  struct stat status {};
  if (::fstatat(root.fd(), kName, &status, 0) < 0) {
    device.exists = errno != ENOENT && errno != ENOTDIR;
    device.error = std::generic_category().message(errno);
    return device;
  }
  device.exists = true;
  if (!S_ISCHR(status.st_mode)) {
    device.error = "it is not a character device";
    return device;
  }
  const Fd opened(::openat(root.fd(), kName, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  device.opens = static_cast<bool>(opened);
  if (!opened) device.error = std::generic_category().message(errno);
  return device;
}

}  // namespace vmrig
