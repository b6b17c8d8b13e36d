#include "launcher/spawn.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>
#include <vector>

// Boost's own filesystem library is not among the dependencies.
#define BOOST_PROCESS_USE_STD_FS 1
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wold-style-cast"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#include <boost/asio/io_context.hpp>
#include <boost/optional.hpp>
#include <boost/process/v2/posix/default_launcher.hpp>
#include <boost/process/v2/process.hpp>
#include <boost/type_traits/decay.hpp>
#pragma GCC diagnostic pop

#include <fmt/format.h>

#include "hostcfg/base/error.hpp"
#include "hostcfg/base/retry.hpp"

namespace vmrig {
namespace {

namespace asio = boost::asio;
namespace process = boost::process::v2;

// The launcher's pipe carries one int, errno; a step of ours that failed is put above its low bits.
enum class Step : int {
  kExec = 0,
  kGroup,
  kFds,
  kCpus,
  kParentDeath,
  kSignals,
  kMemoryLock,
  kCgroup,
  kLimits,
  kUser,
  kCapabilities,
  kNewPrivileges,
  kRecord,
};
constexpr int kStepShift = 16;

const char* step_name(Step step) {
  switch (step) {
    case Step::kExec:
      return "execute";
    case Step::kGroup:
      return "make a process group for";
    case Step::kFds:
      return "pass file descriptors to";
    case Step::kCpus:
      return "set the CPU affinity of";
    case Step::kParentDeath:
      return "tie to the supervisor's life";
    case Step::kSignals:
      return "reset the signals of";
    case Step::kMemoryLock:
      return "raise the limit on locked memory of";
    case Step::kCgroup:
      return "put into its cgroup";
    case Step::kLimits:
      return "set the limits of";
    case Step::kUser:
      return "change the user of";
    case Step::kCapabilities:
      return "take the capabilities from";
    case Step::kNewPrivileges:
      return "bar new privileges from";
    case Step::kRecord:
      return "record the process of";
  }
  return "start";
}

Step step_of(DropFault fault) {
  switch (fault) {
    case DropFault::kLimits:
      return Step::kLimits;
    case DropFault::kUser:
      return Step::kUser;
    case DropFault::kCapabilities:
      return Step::kCapabilities;
    case DropFault::kNewPrivileges:
    case DropFault::kNone:
      break;
  }
  return Step::kNewPrivileges;
}

// A QEMU whose event loops are io_uring's (11.0) locks some pages for each, which before Linux 5.12
// count even in a hard limit that root never noticed. Without the right to raise it, it stays.
void make_room_for_rings() {
  constexpr rlim_t kRoom = rlim_t{8} << 20;
  rlimit limit{};
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur >= kRoom) return;
  const rlimit more{.rlim_cur = kRoom, .rlim_max = std::max(kRoom, limit.rlim_max)};
  if (::setrlimit(RLIMIT_MEMLOCK, &more) == 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_MEMLOCK, &limit);
}

// Everything that the child does between fork and exec; prepared before the fork. The parent has
// one thread, so that libraries may be called here, too.
struct ChildSetup {
  std::vector<std::pair<int, int>> moves;  // source (above every target), target
  SpawnRequest::Group group = SpawnRequest::Group::kOwnGroup;
  bool dies_with_parent = false;
  bool locks_memory = false;
  pid_t parent = -1;
  cpu_set_t* cpus = nullptr;
  std::size_t cpus_bytes = 0;
  int cgroup_procs = -1;  // open for writing; -1: stays in the parent's
  const Privileges* privileges = nullptr;
  int record = -1;  // open for writing; -1: none

  // Returns 0 or the value for errno.
  int run() const {
    const auto fault = [](Step step) { return (static_cast<int>(step) << kStepShift) | errno; };
    const bool grouped =
        group == SpawnRequest::Group::kOwnSession ? ::setsid() >= 0 : ::setpgid(0, 0) == 0;
    if (!grouped) return fault(Step::kGroup);
    // All that it allocates from here on is charged there; "0" is the writer itself.
    if (cgroup_procs >= 0 && ::write(cgroup_procs, "0", 1) < 0) return fault(Step::kCgroup);
    if (::syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC) != 0) return fault(Step::kFds);
    for (const auto& [source, target] : moves) {
      if (::dup2(source, target) < 0) return fault(Step::kFds);
    }
    if (cpus != nullptr && ::sched_setaffinity(0, cpus_bytes, cpus) != 0) return fault(Step::kCpus);
    if (locks_memory) {
      const rlimit unlimited{RLIM_INFINITY, RLIM_INFINITY};
      if (::setrlimit(RLIMIT_MEMLOCK, &unlimited) != 0) return fault(Step::kMemoryLock);
    }
    if (privileges != nullptr) {
      if (!locks_memory) make_room_for_rings();
      const DropFault dropped = drop_privileges(*privileges);
      if (dropped != DropFault::kNone) return fault(step_of(dropped));
    }
    // Lost by a change of the user. Source: prctl(2), PR_SET_PDEATHSIG.
    if (dies_with_parent) {
      if (::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) return fault(Step::kParentDeath);
      // The parent may have died before the request: then no signal will come.
      if (::getppid() != parent) {
        errno = ESRCH;
        return fault(Step::kParentDeath);
      }
    }
    if (record >= 0 && !write_record()) return fault(Step::kRecord);
    struct sigaction standard {};
    standard.sa_handler = SIG_DFL;
    for (int number = 1; number < NSIG; ++number) {
      ::sigaction(number, &standard, nullptr);  // refused for KILL, STOP and libc's own: harmless
    }
    sigset_t none;
    ::sigemptyset(&none);
    if (::sigprocmask(SIG_SETMASK, &none, nullptr) != 0) return fault(Step::kSignals);
    return 0;
  }

 private:
  // In this order: either the parent lived when the record was there, and who comes after it finds
  // this process, or there will be no such process.
  bool write_record() const {
    char text[1024];
    const int stat = retrying([] { return ::open("/proc/self/stat", O_RDONLY | O_CLOEXEC); });
    const ssize_t got = stat < 0 ? -1 : ::read(stat, text, sizeof(text));
    if (got <= 0) return false;
    for (ssize_t done = 0; done < got;) {
      const ssize_t put = retrying(
          [&] { return ::write(record, text + done, static_cast<std::size_t>(got - done)); });
      if (put <= 0) return false;
      done += put;
    }
    errno = ESRCH;
    return ::getppid() == parent;
  }
};

// The one initializer that mends what Boost.Process v2 of 1.81 does to fds, signals and zombies;
// see the unit tests of spawn(), one a trap.
struct Initializer {
  const ChildSetup& setup;

  template <class Launcher>
  process::error_code on_setup(Launcher& launcher, const process::filesystem::path&,
                               const char* const*&) {
    for (const auto& [source, target] : setup.moves) {
      (void)source;
      if (target > STDERR_FILENO) launcher.fd_whitelist.push_back(target);
    }
    return {};
  }

  template <class Launcher>
  process::error_code on_exec_setup(Launcher&, const process::filesystem::path&,
                                    const char* const*&) {
    const int fault = setup.run();
    if (fault == 0) return {};
    errno = fault;  // what the launcher reports is errno, not this function's value
    return {fault, process::system_category()};
  }

  // Its documented signature is never called in 1.81 (the detection passes arguments in another
  // order than the call), and returning would run the parent's exit handlers in the child.
  template <class... Ignored>
  void on_exec_error(Ignored&&...) {
    ::_exit(127);
  }

  // The launcher leaves a zombie when exec fails.
  template <class Launcher, class... Ignored>
  void on_error(Launcher& launcher, Ignored&&...) {
    if (launcher.pid <= 0) return;
    while (::waitpid(launcher.pid, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
};

// Blocks every signal for its life, so that none reaches a handler of ours in the child.
class SignalBlock {
 public:
  SignalBlock() {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalBlock() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalBlock(const SignalBlock&) = delete;
  SignalBlock& operator=(const SignalBlock&) = delete;

 private:
  sigset_t before_;
};

Fd duplicate_at_least(int fd, int lowest) {
  Fd copy(::fcntl(fd, F_DUPFD_CLOEXEC, lowest));
  if (!copy) throw system_error("duplicate a file descriptor", std::to_string(fd), errno);
  return copy;
}

// Not among the targets, as all sources.
Fd open_cgroup_procs(const std::string& cgroup, int lowest) {
  const std::string path = cgroup + "/cgroup.procs";
  const Fd opened(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!opened) throw system_error("open", path, errno);
  return duplicate_at_least(opened.get(), lowest);
}

// The start time of a child that may be a zombie already.
ProcessIdentity identity_of_child(pid_t pid) {
  const std::optional<ProcessIdentity> identity = identify_process(pid);
  return identity ? *identity : ProcessIdentity{.pid = pid};
}

}  // namespace

Child spawn(const SpawnRequest& request) {
  if (request.argv.empty())
    throw Error({.operation = "start a program", .object = {}, .cause = "no words", .mend = {}});
  const std::string& program = request.argv.front();

  int highest = STDERR_FILENO;
  for (const SpawnRequest::PassedFd& passed : request.fds) {
    highest = std::max(highest, passed.number);
  }

  Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null) throw system_error("open", "/dev/null", errno);

  ChildSetup setup;
  setup.group = request.group;
  setup.dies_with_parent = request.parent_death == SpawnRequest::ParentDeath::kKill;
  setup.locks_memory = request.memory_lock == SpawnRequest::MemoryLock::kUnlimited;
  setup.parent = ::getpid();
  if (request.privileges) setup.privileges = &*request.privileges;
  // Sources above every target: a dup2 can't then overwrite a source that is still needed.
  std::vector<Fd> held;
  const auto pass = [&](int source, int target) {
    held.push_back(duplicate_at_least(source >= 0 ? source : null.get(), highest + 1));
    setup.moves.emplace_back(held.back().get(), target);
  };
  pass(request.input, STDIN_FILENO);
  pass(request.output, STDOUT_FILENO);
  pass(request.error_output, STDERR_FILENO);
  for (const SpawnRequest::PassedFd& passed : request.fds) pass(passed.source, passed.number);
  // Targets that are free here are occupied for the moment: the launcher's own pipe must not be
  // made at one of them, a dup2 would close it and lose the report of a failed exec.
  for (const SpawnRequest::PassedFd& passed : request.fds) {
    Fd placeholder = duplicate_at_least(null.get(), passed.number);
    if (placeholder.get() == passed.number) held.push_back(std::move(placeholder));
  }

  Fd cgroup_procs;
  if (!request.cgroup.empty()) {
    cgroup_procs = open_cgroup_procs(request.cgroup, highest + 1);
    setup.cgroup_procs = cgroup_procs.get();
  }

  Fd record;
  if (request.record >= 0) {
    record = duplicate_at_least(request.record, highest + 1);
    setup.record = record.get();
  }

  std::vector<cpu_set_t> cpus;
  if (!request.cpus.empty()) {
    const std::vector<int> numbers = request.cpus.cpus();
    const std::size_t bytes = CPU_ALLOC_SIZE(static_cast<std::size_t>(numbers.back()) + 1);
    cpus.resize(bytes / sizeof(cpu_set_t) + 1);
    setup.cpus = cpus.data();
    setup.cpus_bytes = cpus.size() * sizeof(cpu_set_t);
    CPU_ZERO_S(setup.cpus_bytes, setup.cpus);
    for (const int cpu : numbers) {
      CPU_SET_S(static_cast<std::size_t>(cpu), setup.cpus_bytes, setup.cpus);
    }
  }

  const std::vector<std::string> words(request.argv.begin() + 1, request.argv.end());
  process::error_code fault;
  pid_t pid = -1;
  {
    const SignalBlock block;
    asio::io_context unused;  // the launcher wants an executor; ours would be told of the fork
    process::posix::default_launcher launcher;
    auto started = launcher(unused.get_executor(), fault, program, words, Initializer{setup});
    // Its destructor would kill the child.
    started.detach();
    pid = launcher.pid;
  }
  if (fault) {
    const auto step = static_cast<Step>(fault.value() >> kStepShift);
    const int number = fault.value() & ((1 << kStepShift) - 1);
    Error::Parts parts = system_error(step_name(step), program, number).parts();
    parts.status = ExitStatus::kHost;
    if (step == Step::kExec && number == ENOEXEC) parts.mend = "name a program, or add a #! line";
    throw Error(std::move(parts));
  }

  Child child{.identity = identity_of_child(pid), .pidfd = Fd()};
  child.pidfd = Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!child.pidfd) {
    const int number = errno;
    ::kill(pid, SIGKILL);
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    throw system_error("watch process", program, number);
  }
  return child;
}

}  // namespace vmrig
