#include <dirent.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>
#include <vector>

#include "hostcfg/base/error.hpp"
#include "hostcfg/spawn_in_cgroup.hpp"
#include "hostcfg/thread_affinity.hpp"
#include "launcher/spawn.hpp"
#include "tests/support/skip.hpp"
#include "tests/support/temp_folder.hpp"
#include "tests/support/vm_guard.hpp"

using namespace vmrig;
using vmrig::testing::eventually;
using vmrig::testing::read_text;
using vmrig::testing::TempFolder;
using vmrig::testing::write_text;

namespace {

struct Finished {
  ExitReport report;
  std::string output;
};

qmp::Deadline soon() { return qmp::deadline_in(std::chrono::seconds(20)); }

Fd open_for_writing(const std::string& path) {
  Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  REQUIRE(fd);
  return fd;
}

// Runs a shell script to its end; what it prints goes to a file.
Finished run_script(const std::string& script, SpawnRequest request = {}) {
  const TempFolder folder;
  const Fd output = open_for_writing(folder / "output");
  request.argv = {"/bin/sh", "-c", script};
  request.output = output.get();
  request.error_output = output.get();
  const Child child = spawn(request);
  REQUIRE(wait_for_exit(child.pidfd.get(), soon()));
  const std::optional<ExitReport> report = reap(child.pidfd.get());
  REQUIRE(report.has_value());
  return {*report, read_text(folder / "output")};
}

bool has_children() {
  siginfo_t info{};
  return ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 || errno != ECHILD;
}

int count_open_fds() {
  DIR* folder = ::opendir("/proc/self/fd");
  REQUIRE(folder != nullptr);
  int count = 0;
  while (::readdir(folder) != nullptr) ++count;
  ::closedir(folder);
  return count;
}

std::string failure_of(const std::string& program, ExitStatus* status = nullptr) {
  SpawnRequest request;
  request.argv = {program};
  try {
    (void)spawn(request);
  } catch (const Error& error) {
    if (status != nullptr) *status = error.status();
    return error.what();
  }
  return "it started";
}

// A process between, that spawns and ends; its child must then end, too. The pipe tells.
void check_dies_with_parent(SpawnRequest request) {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  const Fd reading(ends[0]);
  Fd writing(ends[1]);
  const pid_t between = ::fork();
  REQUIRE(between >= 0);
  if (between == 0) {
    request.argv = {"/bin/sleep", "600"};
    request.fds = {{.number = 10, .source = writing.get()}};
    request.parent_death = SpawnRequest::ParentDeath::kKill;
    (void)spawn(request);
    ::_exit(0);
  }
  writing.reset();
  REQUIRE(::waitpid(between, nullptr, 0) == between);
  char byte = 0;
  CHECK(::read(reading.get(), &byte, 1) == 0);  // end of file: nobody holds the other end
}

}  // namespace

TEST_CASE("a program that does not exist is reported with errno's text and leaves no zombie") {
  ExitStatus status{};
  CHECK(failure_of("/nonexistent/program", &status) ==
        "execute \"/nonexistent/program\": No such file or directory");
  CHECK(status == ExitStatus::kHost);
  CHECK_FALSE(has_children());
}

TEST_CASE("a file that is not executable is reported as permission denied") {
  const TempFolder folder;
  write_text(folder / "plain", "#!/bin/sh\n");
  ::chmod((folder / "plain").c_str(), 0644);
  CHECK(failure_of(folder / "plain").ends_with("Permission denied"));
  CHECK_FALSE(has_children());
}

TEST_CASE("a file that is no program is reported as an exec format error") {
  const TempFolder folder;
  write_text(folder / "text", "just text\n");
  ::chmod((folder / "text").c_str(), 0755);
  CHECK(failure_of(folder / "text").ends_with("Exec format error"));
  CHECK_FALSE(has_children());
}

TEST_CASE("a failed start leaves no file descriptor open") {
  (void)failure_of("/nonexistent/program");
  const int before = count_open_fds();
  (void)failure_of("/nonexistent/program");
  CHECK(count_open_fds() == before);
}

TEST_CASE("a failed exec is reported when fds are passed at the launcher's own pipe's numbers") {
  const Fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  SpawnRequest request;
  request.argv = {"/nonexistent/program"};
  for (int number = 3; number < 24; ++number) {
    request.fds.push_back({.number = number, .source = null.get()});
  }
  CHECK_THROWS_AS((void)spawn(request), Error);
  CHECK_FALSE(has_children());
}

TEST_CASE("the child has the fds that are passed and no others, low ones included") {
  // Inheritable on purpose, below and above the launcher's pipe.
  const Fd low(::open("/dev/null", O_RDONLY));
  const Fd high(::fcntl(low.get(), F_DUPFD, 200));
  const Fd passed(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  SpawnRequest request;
  request.fds = {{.number = 10, .source = passed.get()}};
  // The shell's own glob opens the folder: at a number of its choice, gone when `echo` prints.
  const Finished finished = run_script(
      "for fd in /proc/$$/fd/*; do [ -e \"$fd\" ] && printf '%s ' \"${fd##*/}\"; done", request);
  CHECK(finished.output == "0 1 10 2 ");
}

TEST_CASE("sources that overlap the targets arrive where they belong") {
  const TempFolder folder;
  write_text(folder / "a", "first");
  write_text(folder / "b", "second");
  Fd a(::open((folder / "a").c_str(), O_RDONLY | O_CLOEXEC));
  Fd b(::open((folder / "b").c_str(), O_RDONLY | O_CLOEXEC));
  // Each at the other's target.
  const Fd at_31(::fcntl(a.get(), F_DUPFD_CLOEXEC, 31));
  const Fd at_30(::fcntl(b.get(), F_DUPFD_CLOEXEC, 30));
  REQUIRE(at_31.get() == 31);
  REQUIRE(at_30.get() == 30);
  SpawnRequest request;
  request.fds = {{.number = 30, .source = 31}, {.number = 31, .source = 30}};
  CHECK(run_script("cat /dev/fd/30; echo -n +; cat /dev/fd/31", request).output == "first+second");
}

TEST_CASE("the child starts with an empty signal mask and the default SIGPIPE") {
  sigset_t blocked;
  sigset_t before;
  ::sigemptyset(&blocked);
  ::sigaddset(&blocked, SIGUSR1);
  ::sigprocmask(SIG_BLOCK, &blocked, &before);
  auto* const handler_before = ::signal(SIGPIPE, SIG_IGN);
  const Finished finished = run_script("grep -E '^Sig(Blk|Ign)' /proc/self/status");
  ::signal(SIGPIPE, handler_before);
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  CHECK(finished.output == "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

TEST_CASE("the parent's signal mask is as before after a start") {
  sigset_t before;
  sigset_t after;
  ::sigprocmask(SIG_SETMASK, nullptr, &before);
  (void)run_script("true");
  ::sigprocmask(SIG_SETMASK, nullptr, &after);
  for (int number = 1; number < NSIG; ++number) {
    CHECK(::sigismember(&before, number) == ::sigismember(&after, number));
  }
}

TEST_CASE("a child leads a process group of its own, or a session") {
  const std::string script = "set -- $(cut -d' ' -f5,6 /proc/$$/stat); echo \"$$ $1 $2\"";
  const auto words = [&](SpawnRequest::Group group) {
    SpawnRequest request;
    request.group = group;
    const std::string output = run_script(script, request).output;
    int pid = 0;
    int pgid = 0;
    int session = 0;
    REQUIRE(std::sscanf(output.c_str(), "%d %d %d", &pid, &pgid, &session) == 3);
    return std::vector<int>{pid, pgid, session};
  };
  const std::vector<int> grouped = words(SpawnRequest::Group::kOwnGroup);
  CHECK(grouped[0] == grouped[1]);
  CHECK(grouped[2] == ::getsid(0));
  const std::vector<int> session = words(SpawnRequest::Group::kOwnSession);
  CHECK(session[0] == session[1]);
  CHECK(session[0] == session[2]);
}

TEST_CASE("the child is on its CPUs before it is executed") {
  const CpuSet ours = thread_affinity(0);
  SpawnRequest request;
  request.cpus = CpuSet{ours.cpus().back()};
  const Finished finished =
      run_script("grep Cpus_allowed_list /proc/self/status | cut -f2", request);
  CHECK(finished.output == request.cpus.to_string() + "\n");
}

TEST_CASE("CPUs that the host does not have are an error of that step, and leave no zombie") {
  SpawnRequest request;
  request.argv = {"/bin/true"};
  request.cpus = CpuSet{CpuSet::kMaxCpus - 1};
  try {
    (void)spawn(request);
    FAIL("it started");
  } catch (const Error& error) {
    CHECK(std::string(error.what()) == "set the CPU affinity of \"/bin/true\": Invalid argument");
  }
  CHECK_FALSE(has_children());
}

namespace {

// A group of this host's v2 hierarchy, gone with this object; empty where none can be made.
class TestCgroup {
 public:
  TestCgroup() {
    for (const char* top : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
      const std::string folder = std::string(top) + "/vmrig-test-" + std::to_string(::getpid());
      if (::access((std::string(top) + "/cgroup.procs").c_str(), W_OK) != 0) continue;
      if (::access((std::string(top) + "/cgroup.controllers").c_str(), F_OK) != 0) continue;
      if (::mkdir(folder.c_str(), 0755) == 0) folder_ = folder;
      break;
    }
  }
  TestCgroup(const TestCgroup&) = delete;
  TestCgroup& operator=(const TestCgroup&) = delete;
  ~TestCgroup() {
    if (!folder_.empty()) ::rmdir(folder_.c_str());
  }
  const std::string& folder() const { return folder_; }
  std::string name() const { return folder_.substr(folder_.rfind('/')); }

 private:
  std::string folder_;
};

}  // namespace

TEST_CASE("a child is in its cgroup from before it is executed, and its children with it") {
  const TestCgroup group;
  if (group.folder().empty()) SKIP_TEST("no cgroup v2 that can be written to");
  SpawnRequest request;
  request.cgroup = group.folder();
  const Finished finished = run_script("cat /proc/$$/cgroup; cat /proc/self/cgroup", request);
  CHECK(finished.report.clean());
  const std::string line = "0::" + group.name() + "\n";
  const std::size_t first = finished.output.find(line);
  REQUIRE(first != std::string::npos);
  CHECK(finished.output.find(line, first + 1) != std::string::npos);
  request.cgroup = "/sys/fs/cgroup/not-there";
  CHECK_THROWS_AS(run_script("true", request), Error);
}

TEST_CASE("a helper is in its cgroup from birth, with its fds, and its faults are told") {
  const TestCgroup group;
  if (group.folder().empty()) SKIP_TEST("no cgroup v2 that can be written to");
  const TempFolder folder;
  const Fd output = open_for_writing(folder / "output");
  const pid_t pid = spawn_in_cgroup({.program = "/bin/sh",
                                     .words = {"sh", "-c", "cat /proc/self/cgroup; echo five >&5"},
                                     .fds = {{output.get(), 1}, {output.get(), 5}},
                                     .cgroup = group.folder()});
  int status = 0;
  REQUIRE(::waitpid(pid, &status, 0) == pid);
  CHECK(status == 0);
  CHECK(read_text(folder / "output").find("0::" + group.name() + "\n") != std::string::npos);
  CHECK(read_text(folder / "output").find("five\n") != std::string::npos);
  CHECK_THROWS_WITH_AS(
      spawn_in_cgroup(
          {.program = "/not/there", .words = {"x"}, .fds = {}, .cgroup = group.folder()}),
      doctest::Contains("No such file"), Error);
  CHECK_FALSE(has_children());
}

TEST_CASE("a child that is to die with its parent does") { check_dies_with_parent({}); }

namespace {

constexpr uid_t kUser = 1'900'000'321;

#define NEED_ROOT() \
  if (::geteuid() != 0) SKIP_TEST("only root becomes another user")

SpawnRequest confined() {
  SpawnRequest request;
  request.privileges = Privileges{
      .ids = Privileges::Ids{.uid = kUser, .gid = kUser + 1, .groups = {kUser + 2, kUser + 3}},
      .max_tasks = 77};
  return request;
}

std::string field(const std::string& text, const std::string& name) {
  const std::size_t at = ("\n" + text).find("\n" + name + ":");
  if (at == std::string::npos) return "none";
  std::string rest = text.substr(at + name.size() + 1);
  rest = rest.substr(rest.find_first_not_of(" \t"));
  rest = rest.substr(0, rest.find('\n'));
  while (rest.ends_with(' ')) rest.pop_back();
  return rest;
}

constexpr const char* kNoCapabilities = "0000000000000000";

}  // namespace

TEST_CASE("a child with a user of its own has its ids and groups, and no way back") {
  NEED_ROOT();
  const std::string status = run_script("cat /proc/self/status", confined()).output;
  CHECK(field(status, "Uid") == "1900000321\t1900000321\t1900000321\t1900000321");
  CHECK(field(status, "Gid") == "1900000322\t1900000322\t1900000322\t1900000322");
  CHECK(field(status, "Groups") == "1900000323 1900000324");
  for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}) {
    CHECK_MESSAGE(field(status, set) == kNoCapabilities, set);
  }
  CHECK(field(status, "NoNewPrivs") == "1");
}

TEST_CASE("a child that is confined has a umask, no core dumps, and a limit on its tasks") {
  NEED_ROOT();
  const std::string output = run_script("umask; cat /proc/self/limits", confined()).output;
  CHECK(output.starts_with("0077\n"));
  CHECK(output.find("Max core file size        0                    0 ") != std::string::npos);
  CHECK(output.find("Max processes             77                   77 ") != std::string::npos);
}

TEST_CASE("root stays root without capabilities when it is given no other user") {
  NEED_ROOT();
  SpawnRequest request;
  request.privileges = Privileges{};
  const std::string status = run_script("cat /proc/self/status", request).output;
  CHECK(field(status, "Uid") == "0\t0\t0\t0");
  CHECK(field(status, "CapEff") == kNoCapabilities);
  CHECK(field(status, "CapBnd") == kNoCapabilities);
  CHECK(field(status, "NoNewPrivs") == "1");
}

TEST_CASE("the capability to lock memory is left alone when it is to stay") {
  NEED_ROOT();
  SpawnRequest request = confined();
  request.privileges->keeps_ipc_lock = true;
  const std::string status = run_script("cat /proc/self/status", request).output;
  CHECK(field(status, "Uid").starts_with("1900000321"));
  CHECK(field(status, "CapEff") == "0000000000004000");
  CHECK(field(status, "CapPrm") == "0000000000004000");
  CHECK(field(status, "CapBnd") == kNoCapabilities);
}

TEST_CASE("a child of another user dies with its parent, too") {
  NEED_ROOT();
  check_dies_with_parent(confined());
}

TEST_CASE("a program that the child's user can't execute is told, and leaves no zombie") {
  NEED_ROOT();
  const TempFolder folder;
  write_text(folder / "program", "#!/bin/sh\n");
  ::chmod((folder / "program").c_str(), 0700);
  SpawnRequest request = confined();
  request.argv = {folder / "program"};
  try {
    (void)spawn(request);
    FAIL("it started");
  } catch (const Error& error) {
    CHECK(std::string(error.what()).ends_with("Permission denied"));
  }
  CHECK_FALSE(has_children());
}

TEST_CASE("dropping a child neither kills nor reaps it") {
  ProcessIdentity identity;
  {
    SpawnRequest request;
    request.argv = {"/bin/sleep", "600"};
    identity = spawn(request).identity;
  }
  CHECK(is_alive(identity));
  const Fd pidfd = open_pidfd(identity);
  REQUIRE(pidfd);
  CHECK(send_signal(pidfd.get(), SIGKILL));
  REQUIRE(wait_for_exit(pidfd.get(), soon()));
  CHECK_FALSE(is_alive(identity));  // a zombie now
  const std::optional<ExitReport> report = reap(pidfd.get());
  REQUIRE(report.has_value());
  CHECK(to_string(*report) == "signal 9 (SIGKILL)");
  CHECK_FALSE(reap(pidfd.get()).has_value());
  CHECK_FALSE(send_signal(pidfd.get(), SIGTERM));
}

TEST_CASE("a process lives as long as one of its threads does") {
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  const Fd ours(ends[0]);
  Fd its(ends[1]);
  ::setenv("FAKE_QEMU", "leaderless", 1);
  SpawnRequest request;
  request.argv = {VMRIG_FAKE_QEMU};
  request.fds = {{.number = 10, .source = its.get()}};
  const Child child = spawn(request);
  ::unsetenv("FAKE_QEMU");
  its.reset();
  const std::string stat = "/proc/" + std::to_string(child.identity.pid) + "/stat";
  REQUIRE(eventually([&stat] { return read_text(stat).find(") Z ") != std::string::npos; }));
  CHECK(is_alive(child.identity));
  CHECK(open_pidfd(child.identity));
  CHECK_FALSE(wait_for_exit(child.pidfd.get(), qmp::Deadline{}));
  CHECK(send_signal(child.pidfd.get(), SIGKILL));
  REQUIRE(wait_for_exit(child.pidfd.get(), soon()));
  CHECK_FALSE(is_alive(child.identity));
  CHECK(reap(child.pidfd.get()).has_value());
}

TEST_CASE("a reused pid is not taken for the process that had it") {
  ProcessIdentity other = *identify_process(::getpid());
  other.start_time += 1;
  CHECK_FALSE(is_alive(other));
  CHECK_FALSE(open_pidfd(other));
}

TEST_CASE("an exit status is told apart from a signal") {
  CHECK(to_string(run_script("exit 7").report) == "exit status 7");
  CHECK(to_string(run_script("kill -SEGV $$").report) == "signal 11 (SIGSEGV)");
}
