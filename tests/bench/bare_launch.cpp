// The limit that vmrig's launch is measured against: a minimal QMP driver on bare libc. Starts
// QEMU stopped with its monitor on an inherited listening socket, pins each vCPU thread, continues,
// and returns once `cont` is answered.
//
//   bare_launch [options] -- QEMU [ARGUMENT...]
//     --qmp-fd N        QEMU's fd of its monitor's listening socket (needed)
//     --listen N        another listening socket on QEMU's fd N (a serial port, say)
//     --open N PATH     a file, opened for reading and writing, on QEMU's fd N
//     --cpus A,B,...    host CPU of vCPU 0, 1, ...
//     --dir PATH        folder for the sockets (needed)
//     --parallel N, --sequential N   N of them; "@N@" in an argument is the number from 0
//     --stopped         without cont: the guest does not run
//     --keep            leave QEMU running; otherwise `quit` after the time was taken
// Prints a line "PID MICROSECONDS" each, and "all MICROSECONDS" at the end.
#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  int qmp_fd = -1;
  std::vector<int> listen_fds;
  std::vector<std::pair<int, std::string>> files;
  std::vector<int> cpus;
  std::string folder;
  int count = 1;
  bool parallel = false;
  bool keep = false;
  bool stopped = false;
  std::vector<std::string> argv;
};

[[noreturn]] void fail(const char* what) {
  static_cast<void>(std::fprintf(stderr, "bare_launch: %s: %s\n", what, std::strerror(errno)));
  std::exit(1);
}

[[noreturn]] void usage(const char* what) {
  static_cast<void>(std::fprintf(stderr, "bare_launch: %s\n", what));
  std::exit(2);
}

int number(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) usage("not a number");
  return value;
}

long long microseconds_since(Clock::time_point start) {
  return std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start).count();
}

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) usage("--dir: path too long for a socket");
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

int listening_socket(const std::string& path) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_un address = address_of(path);
  unlink(path.c_str());
  if (fd < 0 || bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      listen(fd, 1) != 0) {
    fail(path.c_str());
  }
  return fd;
}

// One connection to QEMU's monitor; a reply is a line with "return" or "error".
class Monitor {
 public:
  explicit Monitor(const std::string& path) : fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    // The socket listens already, so this succeeds before QEMU accepts.
    const sockaddr_un address = address_of(path);
    if (fd_ < 0 ||
        connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
      fail("connect");
    }
  }
  ~Monitor() { close(fd_); }
  Monitor(const Monitor&) = delete;
  Monitor& operator=(const Monitor&) = delete;

  void greeting() {
    while (line().find("\"QMP\"") == std::string::npos) {
    }
  }

  std::string command(std::string_view name) {
    const std::string text = "{\"execute\":\"" + std::string(name) + "\"}\n";
    if (write(fd_, text.data(), text.size()) != static_cast<ssize_t>(text.size())) fail("write");
    for (;;) {
      std::string reply = line();
      if (reply.find("\"error\"") != std::string::npos) usage(reply.c_str());
      if (reply.find("\"return\"") != std::string::npos) return reply;
    }
  }

 private:
  std::string line() {
    for (;;) {
      if (const size_t end = buffer_.find('\n'); end != std::string::npos) {
        std::string text = buffer_.substr(0, end);
        buffer_.erase(0, end + 1);
        return text;
      }
      std::array<char, 4096> chunk{};
      const ssize_t got = read(fd_, chunk.data(), chunk.size());
      if (got <= 0) fail("QEMU's monitor closed");
      buffer_.append(chunk.data(), static_cast<size_t>(got));
    }
  }

  int fd_;
  std::string buffer_;
};

void pin(const std::string& reply, const std::vector<int>& cpus) {
  constexpr std::string_view kKey = "\"thread-id\": ";
  size_t at = 0;
  for (const int cpu : cpus) {
    at = reply.find(kKey, at);
    if (at == std::string::npos) usage("more --cpus than vCPUs");
    at += kKey.size();
    const size_t end = reply.find_first_not_of("0123456789", at);
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<size_t>(cpu), &set);
    const int thread = number(std::string_view(reply).substr(at, end - at));
    if (sched_setaffinity(thread, sizeof(set), &set) != 0) fail("sched_setaffinity");
  }
}

// Starts QEMU with `sources` (number in the child, fd here) as its only fds beyond stdio.
pid_t start(const std::vector<std::string>& arguments,
            const std::vector<std::pair<int, int>>& sources) {
  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  for (const auto& [target, source] : sources) {
    posix_spawn_file_actions_adddup2(&actions, source, target);
  }
  // glibc spawns by CLONE_VM | CLONE_VFORK, the cheapest way there is.
  pid_t pid = -1;
  errno = posix_spawn(&pid, argv[0], &actions, nullptr, argv.data(), environ);
  if (errno != 0) fail(argv[0]);
  posix_spawn_file_actions_destroy(&actions);
  return pid;
}

void launch(const Options& options, int index) {
  const Clock::time_point begin = Clock::now();
  const std::string number_text = std::to_string(index);
  const auto numbered = [&](std::string text) {
    for (size_t at = text.find("@N@"); at != std::string::npos; at = text.find("@N@", at)) {
      text.replace(at, 3, number_text);
    }
    return text;
  };
  std::vector<std::string> arguments;
  arguments.reserve(options.argv.size());
  for (const std::string& argument : options.argv) arguments.push_back(numbered(argument));

  // Sources lie above all targets, so that no dup2 overwrites one still needed.
  constexpr int kAboveTargets = 100;
  std::vector<std::pair<int, int>> sources;
  const auto pass = [&](int target, int fd) {
    const int moved = fcntl(fd, F_DUPFD_CLOEXEC, kAboveTargets);
    if (moved < 0) fail("dup");
    close(fd);
    sources.emplace_back(target, moved);
  };
  const std::string qmp_path = options.folder + "/qmp-" + number_text + ".sock";
  pass(options.qmp_fd, listening_socket(qmp_path));
  for (const int fd : options.listen_fds) {
    pass(fd, listening_socket(options.folder + "/fd" + std::to_string(fd) + "-" + number_text));
  }
  for (const auto& [target, path] : options.files) {
    const int fd = open(numbered(path).c_str(), O_RDWR | O_CLOEXEC);
    if (fd < 0) fail(path.c_str());
    pass(target, fd);
  }

  const pid_t qemu = start(arguments, sources);
  for (const auto& [target, source] : sources) close(source);
  {
    Monitor monitor(qmp_path);
    monitor.greeting();
    monitor.command("qmp_capabilities");
    pin(monitor.command("query-cpus-fast"), options.cpus);
    if (!options.stopped) monitor.command("cont");
    static_cast<void>(std::printf("%d %lld\n", qemu, microseconds_since(begin)));
    static_cast<void>(std::fflush(stdout));
    if (!options.keep) monitor.command("quit");
  }
  if (!options.keep) waitpid(qemu, nullptr, 0);
}

Options parse(int argc, char** argv) {
  Options options;
  int at = 1;
  const auto next = [&]() -> std::string_view {
    if (++at >= argc) usage("a value is missing");
    return argv[at];
  };
  for (; at < argc; ++at) {
    const std::string_view word = argv[at];
    if (word == "--") break;
    if (word == "--qmp-fd") {
      options.qmp_fd = number(next());
    } else if (word == "--listen") {
      options.listen_fds.push_back(number(next()));
    } else if (word == "--open") {
      const int target = number(next());
      options.files.emplace_back(target, next());
    } else if (word == "--cpus") {
      std::string_view list = next();
      while (!list.empty()) {
        const size_t comma = list.find(',');
        options.cpus.push_back(number(list.substr(0, comma)));
        list = comma == std::string_view::npos ? "" : list.substr(comma + 1);
      }
    } else if (word == "--dir") {
      options.folder = next();
    } else if (word == "--parallel" || word == "--sequential") {
      options.parallel = word == "--parallel";
      options.count = number(next());
    } else if (word == "--stopped") {
      options.stopped = true;
    } else if (word == "--keep") {
      options.keep = true;
    } else {
      usage("unknown option");
    }
  }
  for (++at; at < argc; ++at) options.argv.emplace_back(argv[at]);
  if (options.argv.empty() || options.qmp_fd < 3 || options.folder.empty()) {
    usage("--qmp-fd, --dir and -- QEMU are needed");
  }
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  static_cast<void>(std::signal(SIGPIPE, SIG_IGN));
  const Clock::time_point begin = Clock::now();
  int failures = 0;
  for (int index = 0; index < options.count; ++index) {
    if (!options.parallel) {
      launch(options, index);
    } else if (const pid_t child = fork(); child == 0) {
      launch(options, index);
      _exit(0);
    } else if (child < 0) {
      fail("fork");
    }
  }
  int status = 0;
  while (options.parallel && wait(&status) > 0) failures += status != 0 ? 1 : 0;
  static_cast<void>(std::printf("all %lld\n", microseconds_since(begin)));
  return failures == 0 ? 0 : 1;
}
