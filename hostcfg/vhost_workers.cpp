#include "hostcfg/vhost_workers.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>

namespace vmrig {
namespace {

constexpr std::string_view kPrefix = "vhost-";
constexpr pid_t kThreadd = 2;  // the parent of all kernel threads

std::vector<pid_t> numbers_in(const FolderReader& folder, const char* name) {
  std::vector<pid_t> numbers;
  for (const std::string& entry : folder.names(name)) {
    if (const auto number = parse_number<pid_t>(entry)) numbers.push_back(*number);
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

// "PID (comm) STATE PPID …"
std::optional<pid_t> parent_of(const FolderReader& root, pid_t pid) {
  const auto stat = root.attribute(fmt::format("proc/{}/stat", pid).c_str());
  if (!stat) return std::nullopt;
  const std::size_t end = stat->rfind(')');
  if (end == std::string::npos) return std::nullopt;
  std::string_view rest = std::string_view(*stat).substr(end + 1);
  take_word(rest);  // the state
  return parse_number<pid_t>(take_word(rest));
}

}  // namespace

std::vector<pid_t> vhost_workers(const FolderReader& root, pid_t qemu) {
  std::vector<pid_t> workers;
  const std::string tasks = fmt::format("proc/{}/task", qemu);
  for (const pid_t tid : numbers_in(root, tasks.c_str())) {
    const auto name = root.attribute(fmt::format("{}/{}/comm", tasks, tid).c_str());
    // QEMU's own name may begin so, too: its first thread has that.
    if (name && tid != qemu && name->starts_with(kPrefix)) workers.push_back(tid);
  }
  if (!workers.empty()) return workers;
  const std::string wanted = fmt::format("{}{}", kPrefix, qemu);
  for (const pid_t pid : numbers_in(root, "proc")) {
    const auto name = root.attribute(fmt::format("proc/{}/comm", pid).c_str());
    if (name == wanted && parent_of(root, pid) == kThreadd) workers.push_back(pid);
  }
  return workers;
}

}  // namespace vmrig
