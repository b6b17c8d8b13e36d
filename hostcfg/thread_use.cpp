#include "hostcfg/thread_use.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

namespace vmrig {
namespace {

constexpr std::uint64_t kKernelThread = 0x00200000;  // PF_KTHREAD, linux include/linux/sched.h
constexpr std::size_t kLimit = 4096;

template <typename Number>
void take_number(std::string_view& text, Number& number) {
  number = parse_number<Number>(take_word(text)).value_or(number);
}

void skip_words(std::string_view& text, int count) {
  for (int i = 0; i < count; ++i) take_word(text);
}

// "TID (name) STATE PPID …", by the numbers that proc_pid_stat(5) gives the fields.
bool read_stat(std::string_view stat, ThreadUse& use) {
  const std::size_t begin = stat.find('(');
  const std::size_t end = stat.rfind(')');
  if (begin == std::string_view::npos || end == std::string_view::npos || end < begin) return false;
  use.name = stat.substr(begin + 1, end - begin - 1);
  std::string_view rest = stat.substr(end + 1);
  skip_words(rest, 6);  // fields 3 to 8
  std::uint64_t flags = 0;
  take_number(rest, flags);
  use.is_kernel_thread = (flags & kKernelThread) != 0;
  skip_words(rest, 29);  // fields 10 to 38
  take_number(rest, use.last_cpu);
  take_number(rest, use.priority);
  take_number(rest, use.policy);
  return use.last_cpu >= 0;
}

void read_schedstat(std::string_view schedstat, ThreadUse& use) {
  take_number(schedstat, use.run_ns);
  take_number(schedstat, use.wait_ns);
}

std::optional<ThreadUse> read_use(const FolderReader& root, pid_t pid, pid_t tid) {
  const std::string folder = fmt::format("proc/{}/task/{}", pid, tid);
  ThreadUse use;
  use.pid = pid;
  use.tid = tid;
  const auto stat = root.text((folder + "/stat").c_str(), kLimit);
  if (!stat || !read_stat(*stat, use)) return std::nullopt;
  if (const auto schedstat = root.attribute((folder + "/schedstat").c_str())) {
    read_schedstat(*schedstat, use);
  }
  return use;
}

std::vector<pid_t> numbers_in(const FolderReader& root, const std::string& name) {
  std::vector<pid_t> numbers;
  for (const std::string& entry : root.names(name.c_str())) {
    if (const auto number = parse_number<pid_t>(entry)) numbers.push_back(*number);
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

}  // namespace

std::optional<ThreadUse> read_thread_use(const FolderReader& root, pid_t pid, pid_t tid) {
  auto use = read_use(root, pid, tid);
  if (!use) return std::nullopt;
  const std::string path = fmt::format("proc/{}/task/{}/status", pid, tid);
  const auto status = root.text(path.c_str(), kLimit);
  std::string_view rest = status ? std::string_view(*status) : std::string_view();
  while (!rest.empty()) {
    std::string_view line = take_line(rest);
    const std::string_view key = take_word(line);
    if (key == "voluntary_ctxt_switches:") take_number(line, use->voluntary);
    if (key == "nonvoluntary_ctxt_switches:") take_number(line, use->involuntary);
  }
  return use;
}

std::vector<pid_t> threads_of(const FolderReader& root, pid_t pid) {
  return numbers_in(root, fmt::format("proc/{}/task", pid));
}

std::vector<ThreadUse> read_all_thread_use(const FolderReader& root) {
  std::vector<ThreadUse> all;
  for (const pid_t pid : numbers_in(root, "proc")) {
    for (const pid_t tid : threads_of(root, pid)) {
      if (auto use = read_use(root, pid, tid)) all.push_back(std::move(*use));
    }
  }
  return all;
}

std::string policy_name(unsigned policy) {
  static constexpr std::array<std::string_view, 7> kNames = {"other", "fifo", "rr",      "batch",
                                                             "",      "idle", "deadline"};
  if (policy < kNames.size() && !kNames.at(policy).empty()) return std::string(kNames.at(policy));
  return fmt::format("policy {}", policy);
}

std::string scheduling_text(const ThreadUse& use) {
  const std::string policy = policy_name(use.policy);
  return use.priority > 0 ? fmt::format("{} {}", policy, use.priority) : policy;
}

}  // namespace vmrig
