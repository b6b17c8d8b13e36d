#include "tests/support/vm_guard.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "hostcfg/facts.hpp"
#include "launcher/caps_cache.hpp"

namespace vmrig::testing {
namespace {

namespace fs = std::filesystem;

constexpr const char* kMark = "VMRIG_TEST_MARK";

std::string environment_value(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool is_zombie(pid_t pid) {
  const std::string stat = read_text("/proc/" + std::to_string(pid) + "/stat");
  const std::size_t end = stat.rfind(')');
  return end == std::string::npos || stat.size() < end + 3 || stat[end + 2] == 'Z' ||
         stat[end + 2] == 'X';
}

bool carries(pid_t pid, const std::string& mark) {
  const std::string all = '\0' + read_text("/proc/" + std::to_string(pid) + "/environ");
  return all.find('\0' + mark + '\0') != std::string::npos;
}

// For what the kernel offers no event (another process's end seen through /proc, a folder's
// content): asked again soon, up to a deadline.
void pause_shortly() { ::poll(nullptr, 0, 5); }

}  // namespace

std::string vmrig_program() {
  const std::string given = environment_value("VMRIG");
  if (!given.empty()) return given;
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  return (self.parent_path().parent_path() / "launcher" / "vmrig").string();
}

std::string source_folder() {
  const std::string given = environment_value("VMRIG_SOURCE");
  if (!given.empty()) return given;
  return fs::path(VMRIG_EXAMPLES).parent_path().string();
}

std::string system_qemu() {
  try {
    return find_qemu("", environment_value("PATH"));
  } catch (const std::exception&) {
    return {};
  }
}

std::string quick_accel() {
  const Fd kvm(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
  return kvm ? "kvm" : "tcg";
}

VmGuard::VmGuard() : state_dir_(folder_ / "state") {
  environment_[kMark] = folder_.path();
  environment_["VMRIG_CACHE_DIR"] = folder_ / "cache";
}

VmGuard::~VmGuard() {
  std::vector<pid_t> left = processes();
  if (left.empty() && remains().empty()) return;
  // Supervisors first: they would only report the death of their QEMU.
  for (const pid_t pid : left) ::kill(pid, SIGKILL);
  CHECK(eventually([this] { return processes().empty(); }));
  if (remains().empty()) return;
  // What they changed of the host stands in their journals.
  try {
    const CommandResult recovered = vmrig({"recover"});
    CHECK_MESSAGE(recovered.status == 0, recovered.out << recovered.err);
  } catch (const std::exception& fault) {
    FAIL_CHECK(fault.what());
  }
}

void VmGuard::set_environment(const std::string& name, const std::string& value) {
  environment_[name] = value;
}

Json VmGuard::config(const std::string& name) const {
  return {{"name", name},
          {"machine", {{"accel", quick_accel()}}},
          {"memory", {{"size", "64MiB"}}},
          {"power", {{"stop_timeout_s", 1}}},
          {"serial", Json::array({{{"id", "con0"}, {"type", "socket"}}})}};
}

std::string VmGuard::write_config(const Json& config, const std::string& file) const {
  std::string path = folder_ / (file.empty() ? config.value("name", "vm") + ".json" : file);
  write_text(path, config.dump(1));
  return path;
}

CommandRequest VmGuard::request(std::vector<std::string> words) const {
  CommandRequest request;
  request.argv = {vmrig_program(), "--state-dir", state_dir_};
  request.argv.insert(request.argv.end(), words.begin(), words.end());
  request.environment = environment_;
  return request;
}

CommandResult VmGuard::vmrig(std::vector<std::string> words) const {
  return run_command(request(std::move(words)));
}

Json VmGuard::vmrig_json(std::vector<std::string> words) const {
  const CommandResult result = vmrig(std::move(words));
  return result.status == 0 ? Json::parse(result.out, nullptr, false) : Json(nullptr);
}

std::vector<pid_t> VmGuard::processes() const {
  const std::string mark = std::string(kMark) + "=" + folder_.path();
  std::vector<pid_t> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc", error)) {
    const std::string name = entry.path().filename().string();
    pid_t pid = -1;
    const auto [end, fault] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (fault != std::errc{} || end != name.data() + name.size()) continue;
    if (!is_zombie(pid) && carries(pid, mark)) found.push_back(pid);
  }
  return found;
}

std::vector<pid_t> VmGuard::qemus() const {
  std::vector<pid_t> found = processes();
  std::erase_if(found, [](pid_t pid) {
    std::error_code error;
    const fs::path program = fs::read_symlink("/proc/" + std::to_string(pid) + "/exe", error);
    return !program.filename().string().starts_with("qemu-system");
  });
  return found;
}

std::vector<std::string> VmGuard::remains() const {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(state_dir_, error)) {
    const std::string name = entry.path().filename().string();
    if (name != ".lock") names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool VmGuard::nothing_left() const {
  return eventually([this] { return processes().empty() && remains().empty(); });
}

bool eventually(const std::function<bool()>& done, std::chrono::milliseconds within) {
  const auto until = std::chrono::steady_clock::now() + within;
  while (!done()) {
    if (std::chrono::steady_clock::now() >= until) return false;
    pause_shortly();
  }
  return true;
}

}  // namespace vmrig::testing
