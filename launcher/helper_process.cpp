#include "launcher/helper_process.hpp"

#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "hostcfg/base/error.hpp"
#include "hostcfg/spawn_in_cgroup.hpp"
#include "hostcfg/spawn_settings.hpp"
#include "launcher/process.hpp"
#include "qmp/deadline.hpp"

namespace vmrig {
namespace {

constexpr int kConnectionFd = 3;  // in passt
constexpr std::chrono::seconds kReadyTimeout{10};
constexpr std::size_t kMostWords = 2048;  // bytes

Error refusal(const Helper& helper, std::string cause) {
  std::string mend = R"("type": "user" does without it)";
  // passt walls itself off in a user namespace, which Docker's seccomp profile denies.
  if (cause.find("user namespace") != std::string::npos) {
    mend = "in a container: --security-opt seccomp=unconfined; or " + mend;
  }
  return Error({.status = ExitStatus::kHost,
                .operation = "start " + helper.program + " for",
                .object = helper.id,
                .cause = std::move(cause),
                .mend = std::move(mend)});
}

std::uint64_t size_of(const Fd& file) {
  struct stat status {};
  return ::fstat(file.get(), &status) == 0 ? static_cast<std::uint64_t>(status.st_size) : 0;
}

}  // namespace

Fd start_passt(const Helper& helper, const VmFolder& folder) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) < 0) {
    throw system_error("make a connection for", helper.id, errno);
  }
  Fd ours(ends[0]);
  Fd theirs(ends[1]);
  const Fd log = folder.open_log(kQemuLogName);
  const std::uint64_t log_start = size_of(log);

  std::vector<std::string> words = {helper.program, "--quiet", "--fd",
                                    std::to_string(kConnectionFd)};
  words.insert(words.end(), helper.arguments.begin(), helper.arguments.end());
  pid_t pid = -1;
  if (!helper.cgroup.empty()) {
    try {
      pid = spawn_in_cgroup({.program = helper.program,
                             .words = words,
                             .fds = {{log.get(), STDOUT_FILENO},
                                     {log.get(), STDERR_FILENO},
                                     {theirs.get(), kConnectionFd}},
                             .cgroup = helper.cgroup});
    } catch (const Error& error) {
      throw refusal(helper, error.what());
    }
  } else {
    SpawnSettings settings;
    settings.pass(log.get(), STDOUT_FILENO);
    settings.pass(log.get(), STDERR_FILENO);
    settings.pass(theirs.get(), kConnectionFd);
    settings.lead_group();
    const int error = ::posix_spawn(&pid, helper.program.c_str(), settings.actions(),
                                    settings.attributes(), exec_list(words).data(), environ);
    if (error != 0) throw refusal(helper, system_error({}, {}, error).parts().cause);
  }
  theirs.reset();
  const Fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) throw system_error("watch", helper.program, errno);
  // It goes into the background once it is ready.
  const bool has_ended = wait_for_exit(pidfd.get(), qmp::deadline_in(kReadyTimeout));
  if (!has_ended) {
    (void)send_signal(pidfd.get(), SIGKILL);
    (void)wait_for_exit(pidfd.get(), qmp::deadline_in(kReadyTimeout));
  }
  const std::optional<ExitReport> report = reap(pidfd.get());
  if (!has_ended) throw refusal(helper, "it was not ready within 10 s");
  if (report && !report->clean()) {
    const std::string said = folder.read_log(kQemuLogName, log_start, kMostWords);
    throw refusal(helper, said.empty() ? to_string(*report) : said);
  }
  return ours;
}

}  // namespace vmrig
