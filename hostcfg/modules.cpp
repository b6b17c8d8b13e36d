#include "hostcfg/modules.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>
#include <system_error>

#include "hostcfg/base/error.hpp"
#include "hostcfg/base/fd.hpp"
#include "hostcfg/files.hpp"

namespace vmrig {
namespace {

constexpr const char* kOperation = "load the kernel module";
constexpr std::array<const char*, 3> kModprobePaths = {"/sbin/modprobe", "/usr/sbin/modprobe",
                                                       "/bin/modprobe"};
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

Error refusal(const std::string& name, std::string cause, std::string mend = {}) {
  return Error({.status = ExitStatus::kHost,
                .operation = kOperation,
                .object = name,
                .cause = std::move(cause),
                .mend = std::move(mend)});
}

struct Pipe {
  Fd read_end;
  Fd write_end;
};

Pipe make_pipe(const std::string& name) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) < 0) throw system_error(kOperation, name, errno);
  return {Fd(ends[0]), Fd(ends[1])};
}

// What a program wrote until it ended, cut at a sane length.
std::string read_all(const Fd& from) {
  constexpr std::size_t kLimit = 4096;
  std::string text;
  std::array<char, 1024> buffer{};
  for (;;) {
    const ssize_t got = ::read(from.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    if (text.size() < kLimit) text.append(buffer.data(), static_cast<std::size_t>(got));
  }
  text.erase(text.find_last_not_of('\n') + 1);
  return text;
}

// The attributes and file actions of posix_spawn, freed at the end.
class SpawnSettings {
 public:
  explicit SpawnSettings(int error_output) {
    ::posix_spawn_file_actions_init(&actions_);
    ::posix_spawnattr_init(&attributes_);
    ::posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_addopen(&actions_, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    ::posix_spawn_file_actions_adddup2(&actions_, error_output, STDERR_FILENO);
    // Signals that this process blocks or ignores (SIGPIPE, SIGCHLD) are not modprobe's affair.
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    ::posix_spawnattr_setsigdefault(&attributes_, &all);
    ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;
  ~SpawnSettings() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }
  const posix_spawn_file_actions_t* actions() const { return &actions_; }
  const posix_spawnattr_t* attributes() const { return &attributes_; }

 private:
  posix_spawn_file_actions_t actions_{};
  posix_spawnattr_t attributes_{};
};

void run_modprobe(const std::string& name) {
  const auto program = std::find_if(kModprobePaths.begin(), kModprobePaths.end(),
                                    [](const char* path) { return ::access(path, X_OK) == 0; });
  if (program == kModprobePaths.end()) {
    throw refusal(name, "there is no /sbin/modprobe", "apt install kmod");
  }
  Pipe output = make_pipe(name);
  const SpawnSettings settings(output.write_end.get());
  std::string command = *program;
  std::string option = "--";
  std::string module = name;
  std::array<char*, 4> arguments = {command.data(), option.data(), module.data(), nullptr};
  std::string path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
  std::array<char*, 2> environment = {path.data(), nullptr};
  pid_t child = -1;
  const int fault = ::posix_spawn(&child, *program, settings.actions(), settings.attributes(),
                                  arguments.data(), environment.data());
  if (fault != 0) throw system_error(kOperation, name, fault);
  output.write_end.reset();
  const std::string said = read_all(output.read_end);
  int status = 0;
  pid_t ended = -1;
  do {
    ended = ::waitpid(child, &status, 0);
  } while (ended < 0 && errno == EINTR);
  if (ended < 0) throw system_error(kOperation, name, errno);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
  throw refusal(name, said.empty() ? fmt::format("modprobe failed (status {})", status) : said);
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
    throw refusal(name, "modprobe succeeded, but the kernel does not have it");
  }
}

}  // namespace vmrig
