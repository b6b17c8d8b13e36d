#include "hostcfg/modules.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "hostcfg/base/error.hpp"
#include "hostcfg/files.hpp"
#include "hostcfg/host_refusal.hpp"
#include "hostcfg/run_program.hpp"

namespace vmrig {
namespace {

constexpr const char* kOperation = "load the kernel module";
constexpr std::size_t kMaxListBytes = std::size_t{16} << 20;  // modules.dep of a full kernel: 1 MiB

std::string with_underscores(std::string name) {
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

// Whether a line of modules.dep or modules.builtin is about the module:
// "kernel/drivers/vfio/pci/vfio-pci.ko.xz: …".
bool is_listed(std::string_view list, const std::string& name) {
  const std::string wanted = with_underscores(name);
  while (!list.empty()) {
    const std::size_t end = std::min(list.find('\n'), list.size());
    std::string_view path = list.substr(0, end);
    list.remove_prefix(std::min(end + 1, list.size()));
    path = path.substr(0, path.find(':'));
    path.remove_prefix(path.rfind('/') + 1);  // npos + 1 is 0
    path = path.substr(0, path.find(".ko"));
    if (path.size() == wanted.size() && with_underscores(std::string(path)) == wanted) return true;
  }
  return false;
}

bool listed_in(const Sysfs& sysfs, const std::string& release, const char* file,
               const std::string& name) {
  try {
    const auto list = read_file_if_exists(
        fmt::format("{}lib/modules/{}/{}", sysfs.root(), release, file), kMaxListBytes);
    return list && is_listed(*list, name);
  } catch (const Error&) {
    return false;
  }
}

void run_modprobe(const std::string& name) {
  const std::string program =
      find_program({"/sbin/modprobe", "/usr/sbin/modprobe", "/bin/modprobe"});
  if (program.empty())
    throw host_refusal(kOperation, name, "there is no /sbin/modprobe", "apt install kmod");
  const ProgramResult result =
      run_program({program, "--", name}, {"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, kOperation, name);
  if (result.succeeded()) return;
  throw host_refusal(kOperation, name,
                     result.errors.empty()
                         ? fmt::format("modprobe failed (status {})", result.status)
                         : result.errors);
}

}  // namespace

bool is_module_loaded(const Sysfs& sysfs, const std::string& name) {
  if (sysfs.exists("sys/module/" + with_underscores(name))) return true;
  const auto release = sysfs.read("proc/sys/kernel/osrelease");
  return release && listed_in(sysfs, *release, "modules.builtin", name);
}

bool is_module_available(const Sysfs& sysfs, const std::string& release, const std::string& name) {
  return listed_in(sysfs, release, "modules.dep", name);
}

void load_module(const Sysfs& sysfs, const std::string& name) {
  if (is_module_loaded(sysfs, name)) return;
  run_modprobe(name);
  if (!is_module_loaded(sysfs, name)) {
    throw host_refusal(kOperation, name, "modprobe succeeded, but the kernel does not have it");
  }
}

}  // namespace vmrig
