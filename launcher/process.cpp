#include "launcher/process.hpp"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <climits>
#include <ctime>
#include <string_view>

#include <fmt/format.h>

#include "hostcfg/base/error.hpp"
#include "hostcfg/files.hpp"
#include "hostcfg/folder_reader.hpp"
#include "hostcfg/process_rights.hpp"

namespace vmrig {
namespace {

constexpr std::size_t kMaxStatBytes = 4096;
constexpr int kFieldsToStartTime = 19;  // from the state (field 3) to the start time (22)

int poll_timeout_ms(qmp::Deadline deadline) {
  if (deadline == qmp::kNoDeadline) return -1;
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
  return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, INT_MAX));
}

struct ProcessStat {
  ProcessIdentity identity;
  char state = 0;
};

// Source: proc(5), /proc/PID/stat.
std::optional<ProcessStat> parse_stat(std::string_view text) {
  ProcessStat stat;
  const auto pid = std::from_chars(text.data(), text.data() + text.size(), stat.identity.pid);
  // The name in parentheses may hold spaces and parentheses of its own: the last one ends it.
  const std::size_t name_end = text.rfind(')');
  if (pid.ec != std::errc{} || name_end == std::string_view::npos || name_end + 2 >= text.size()) {
    return std::nullopt;
  }
  std::string_view rest = text.substr(name_end + 2);
  stat.state = rest.front();
  for (int field = 0; field < kFieldsToStartTime; ++field) {
    const std::size_t space = rest.find(' ');
    if (space == std::string_view::npos) return std::nullopt;
    rest.remove_prefix(space + 1);
  }
  const auto time =
      std::from_chars(rest.data(), rest.data() + rest.size(), stat.identity.start_time);
  if (time.ec != std::errc{}) return std::nullopt;
  return stat;
}

// pidfd_open sets close-on-exec by itself. Source: pidfd_open(2).
Fd pidfd_of(pid_t pid) { return Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))); }

// The first thread of a process that is a zombie tells nothing of the others: they may run, and
// hold memory and files, until the pidfd says that all have ended. Source: linux kernel/fork.c,
// pidfd_poll.
bool has_living_threads(pid_t pid) {
  const Fd pidfd = pidfd_of(pid);
  return pidfd && !wait_for_exit(pidfd.get(), qmp::Deadline{});
}

}  // namespace

std::optional<ProcessIdentity> identify_process(pid_t pid) {
  if (pid <= 0) return std::nullopt;
  std::optional<std::string> text;
  try {
    text = read_file_if_exists(fmt::format("/proc/{}/stat", pid), kMaxStatBytes);
  } catch (const Error&) {
    return std::nullopt;  // ESRCH: it ended between open and read
  }
  if (!text) return std::nullopt;
  const std::optional<ProcessStat> stat = parse_stat(*text);
  if (!stat || stat->identity.pid != pid) return std::nullopt;
  if (stat->state == 'X' || (stat->state == 'Z' && !has_living_threads(pid))) return std::nullopt;
  return stat->identity;
}

std::optional<ProcessIdentity> identity_in_stat(std::string_view text) {
  const std::optional<ProcessStat> stat = parse_stat(text);
  if (!stat) return std::nullopt;
  return stat->identity;
}

std::chrono::seconds age_of(const ProcessIdentity& process) {
  timespec now{};
  const long ticks = ::sysconf(_SC_CLK_TCK);
  if (ticks <= 0 || ::clock_gettime(CLOCK_BOOTTIME, &now) != 0) return std::chrono::seconds(0);
  const auto started = static_cast<std::int64_t>(process.start_time) / ticks;
  return std::chrono::seconds(std::max<std::int64_t>(0, now.tv_sec - started));
}

bool is_alive(const ProcessIdentity& process) { return identify_process(process.pid) == process; }

bool is_alive_of(const ProcessIdentity& process, uid_t user) {
  const std::optional<FolderReader> root = FolderReader::open("/");
  if (!root || !is_alive(process)) return false;
  const std::optional<ProcessRights> rights = read_process_rights(*root, process.pid);
  return rights && !rights->uids.empty() &&
         std::all_of(rights->uids.begin(), rights->uids.end(),
                     [user](unsigned uid) { return uid == user; });
}

Fd open_pidfd(const ProcessIdentity& process) {
  Fd fd = pidfd_of(process.pid);
  if (!fd) {
    if (errno == ESRCH || errno == EINVAL) return Fd();
    throw system_error("watch process", std::to_string(process.pid), errno);
  }
  // Compared after the pidfd holds it, so that a reused pid is noticed.
  if (!is_alive(process)) return Fd();
  return fd;
}

bool send_signal(int pidfd, int signal_number) {
  if (::syscall(SYS_pidfd_send_signal, pidfd, signal_number, nullptr, 0) == 0) return true;
  if (errno == ESRCH) return false;
  throw system_error("signal process", {}, errno);
}

bool wait_for_exit(int pidfd, qmp::Deadline deadline) {
  pollfd watched{.fd = pidfd, .events = POLLIN, .revents = 0};
  while (true) {
    const int count = ::poll(&watched, 1, poll_timeout_ms(deadline));
    if (count > 0) return true;
    if (count == 0) return false;
    if (errno != EINTR) throw system_error("wait for process", {}, errno);
  }
}

std::string to_string(const ExitReport& report) {
  if (report.signal_number == 0) return fmt::format("exit status {}", report.status);
  const char* name = ::sigabbrev_np(report.signal_number);
  return name != nullptr ? fmt::format("signal {} (SIG{})", report.signal_number, name)
                         : fmt::format("signal {}", report.signal_number);
}

std::optional<ExitReport> reap(int pidfd) {
  siginfo_t info{};
  int result = 0;
  do {
    result = ::waitid(P_PIDFD, static_cast<id_t>(pidfd), &info, WEXITED | WNOHANG);
  } while (result != 0 && errno == EINTR);
  if (result != 0 || info.si_pid == 0) return std::nullopt;
  if (info.si_code == CLD_EXITED) return ExitReport{.status = info.si_status};
  return ExitReport{.signal_number = info.si_status};
}

void reap_orphans(pid_t qemu) {
  while (true) {
    siginfo_t info{};
    if (::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) return;
    // QEMU stands before others in the queue: they are collected once it is.
    if (info.si_pid == qemu) return;
    siginfo_t collected{};
    ::waitid(P_PID, static_cast<id_t>(info.si_pid), &collected, WEXITED | WNOHANG);
  }
}

std::string read_boot_id() {
  constexpr std::size_t kUuidBytes = 36;
  return read_small_file("/proc/sys/kernel/random/boot_id", 64).substr(0, kUuidBytes);
}

}  // namespace vmrig
