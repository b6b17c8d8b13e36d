#include "hostcfg/spawn_in_cgroup.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "hostcfg/base/error.hpp"
#include "hostcfg/base/fd.hpp"
#include "hostcfg/spawn_settings.hpp"

namespace vmrig {
namespace {

// What the child has between fork and exec; async-signal-safe calls alone.
struct Setup {
  const CgroupSpawn& request;
  const std::vector<char*>& words;
  int cgroup_procs;
  int null;
  int report;

  [[noreturn]] void run() const {
    prepare();
    ::execve(request.program.c_str(), words.data(), environ);
    fail();
  }

 private:
  [[noreturn]] void fail() const {
    const int number = errno;
    (void)!::write(report, &number, sizeof number);
    ::_exit(127);
  }

  void prepare() const {
    // "0" is the writer itself.
    if (::write(cgroup_procs, "0", 1) < 0 || ::setpgid(0, 0) != 0) fail();
    move(null, STDIN_FILENO);
    for (const auto& [source, target] : request.fds) move(source, target);
    struct sigaction standard {};
    standard.sa_handler = SIG_DFL;
    for (int number = 1; number < NSIG; ++number) ::sigaction(number, &standard, nullptr);
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
  }

  void move(int source, int target) const {
    // A dup2 onto itself would leave it to be closed by exec.
    const int moved = source == target ? ::fcntl(source, F_SETFD, 0) : ::dup2(source, target);
    if (moved < 0) fail();
  }
};

// Above what the program is given.
Fd moved_up(Fd fd) {
  constexpr int kAbove = 64;
  Fd copy(::fcntl(fd.get(), F_DUPFD_CLOEXEC, kAbove));
  if (!copy) throw system_error("duplicate a file descriptor", {}, errno);
  return copy;
}

}  // namespace

pid_t spawn_in_cgroup(const CgroupSpawn& request) {
  const std::string path = request.cgroup + "/cgroup.procs";
  Fd procs(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!procs) throw system_error("open", path, errno);
  Fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  std::array<int, 2> ends{};
  if (!null || ::pipe2(ends.data(), O_CLOEXEC) != 0) {
    throw system_error("start", request.program, errno);
  }
  const Fd report(ends[0]);
  Fd told = moved_up(Fd(ends[1]));
  procs = moved_up(std::move(procs));
  null = moved_up(std::move(null));
  std::vector<std::string> copy = request.words;
  const std::vector<char*> words = exec_list(copy);
  const Setup setup{request, words, procs.get(), null.get(), told.get()};

  // No handler of ours may run in the child.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t pid = ::fork();
  if (pid == 0) setup.run();
  const int fork_error = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) throw system_error("start", request.program, fork_error);
  told.reset();
  int fault = 0;
  ssize_t got = 0;
  do {
    got = ::read(report.get(), &fault, sizeof fault);
  } while (got < 0 && errno == EINTR);
  if (got <= 0) return pid;
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  throw system_error("start", request.program, fault);
}

}  // namespace vmrig
