// A program that stands in for QEMU and misbehaves as its environment asks. It speaks as little QMP
// as a launch needs, so that each way in which a start can fail is there to be tried.
//
// FAKE_QEMU, one of:
//   exit      write FAKE_QEMU_WORDS on standard error and exit with status 1, at once
//   signal    the same, but end by SIGSEGV
//   silent    exit with status 0 and no word
//   mute      accept nobody and hang
//   quiet     accept the monitor's client and say nothing
//   garbage   greet with what is no QMP
//   half      half of a greeting, then close, and hang
//   greet-close   a greeting, then close, and hang
//   greet-die     a greeting, then exit with status 1 and FAKE_QEMU_WORDS
//   refuse    refuse qmp_capabilities
//   refuse-cont   work, but refuse cont with FAKE_QEMU_WORDS
//   deaf-stop work, but answer quit and system_powerdown with {} and live on
//   deaf      work until cont, and from then on answer nobody
//   leaderless    work, but on a second thread: the first has ended, so that the process looks like
//   a
//             zombie as one does that is being killed
//   work      answer everything, end on quit; print FAKE_QEMU_CONSOLE on the console after cont
//   stays     as work, but stand still when the guest powers off or panics, until quit comes
//   flood     as work, but write 20 MB on standard error after cont
// Commands of its own, for what a guest can do: x-die (SIGSEGV), x-poweroff, x-panic, x-hang (its
// watchdog ends it), x-storm (200,000 events), x-flood (the console, 20 MB).
// FAKE_QEMU_PROBE: the QEMU that is executed in its place to be asked what it can do (-machine
// none). Its monitor is the -chardev with "fd=10"; a second one, "fd=11", is the console.
#include <pthread.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>

namespace {

void die_by_signal() {
  std::signal(SIGSEGV, SIG_DFL);  // a sanitizer would make it an exit status
  std::raise(SIGSEGV);
}

constexpr int kMonitorFd = 10;
constexpr int kConsoleFd = 11;
constexpr std::string_view kGreeting =
    R"({"QMP":{"version":{"qemu":{"major":7,"minor":2,"micro":0},"package":"fake"},"capabilities":[]}})"
    "\r\n";

std::string setting(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

void say(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t put = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    if (put <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(put));
  }
}

void complain() {
  const std::string words = setting("FAKE_QEMU_WORDS") + "\n";
  if (::write(STDERR_FILENO, words.data(), words.size()) < 0) std::_Exit(3);
}

[[noreturn]] void hang() {
  while (true) ::pause();
}

// A client on a listening fd, or the fd itself where it is connected already (a probe).
int client_of(int fd) {
  int listens = 0;
  socklen_t size = sizeof(listens);
  if (::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0) std::_Exit(4);
  if (listens == 0) return fd;
  while (true) {
    const int client = ::accept(fd, nullptr, nullptr);
    if (client >= 0) return client;
    fd_set readable;
    FD_ZERO(&readable);
    FD_SET(fd, &readable);
    ::select(fd + 1, &readable, nullptr, nullptr, nullptr);
  }
}

std::string member(const std::string& request, const std::string& key) {
  const std::string pattern = "\"" + key + "\":\"";
  const std::size_t start = request.find(pattern);
  if (start == std::string::npos) return {};
  const std::size_t value = start + pattern.size();
  return request.substr(value, request.find('"', value) - value);
}

// A client may leave the id out: then the reply has none either.
std::string ending(const std::string& id) {
  return (id.empty() ? "" : R"(,"id":")" + id + "\"") + "}\r\n";
}

std::string reply(const std::string& id, const std::string& value) {
  return R"({"return":)" + value + ending(id);
}

std::string refusal(const std::string& id, const std::string& text) {
  return R"({"error":{"class":"GenericError","desc":")" + text + R"("})" + ending(id);
}

std::string event(const std::string& name, const std::string& data) {
  return R"({"event":")" + name + R"(","data":)" + data +
         R"(,"timestamp":{"seconds":1,"microseconds":2}})" + "\r\n";
}

int console_of_guest = -1;

void flood(int fd) {
  const std::string line = std::string(99, '#') + "\n";
  constexpr int kLines = 200'000;
  for (int i = 0; i < kLines; ++i) {
    if (::write(fd, line.data(), line.size()) < 0) return;
  }
}

void answer(int monitor, const std::string& mode, const std::string& request) {
  static bool is_deaf = false;
  if (is_deaf) return;
  const std::string command = member(request, "execute");
  is_deaf = mode == "deaf" && command == "cont";
  const std::string id = member(request, "id");
  const std::string pid = std::to_string(::getpid());
  if (command == "qmp_capabilities" && mode == "refuse") {
    say(monitor, refusal(id, "no capabilities today"));
  } else if (command == "query-cpus-fast") {
    say(monitor, reply(id, R"([{"cpu-index":0,"thread-id":)" + pid + "}]"));
  } else if (command == "query-iothreads") {
    say(monitor, reply(id, "[]"));
  } else if (command == "query-status") {
    say(monitor, reply(id, R"({"running":true,"status":"running"})"));
  } else if (command == "cont" && mode == "refuse-cont") {
    say(monitor, refusal(id, setting("FAKE_QEMU_WORDS")));
  } else if (command == "cont") {
    say(monitor, event("RESUME", "{}") + reply(id, "{}"));
    // Once: a later cont finds the supervisor connected already.
    const std::string text = setting("FAKE_QEMU_CONSOLE");
    if (!text.empty() && console_of_guest < 0) {
      console_of_guest = client_of(kConsoleFd);
      say(console_of_guest, text);
    }
    if (mode == "flood") flood(STDERR_FILENO);
  } else if (command == "quit" && mode != "deaf-stop") {
    say(monitor,
        reply(id, "{}") + event("SHUTDOWN", R"({"guest":false,"reason":"host-qmp-quit"})"));
    std::_Exit(0);
  } else if (command == "system_powerdown" && (mode == "work" || mode == "leaderless")) {
    say(monitor,
        reply(id, "{}") + event("SHUTDOWN", R"({"guest":true,"reason":"guest-shutdown"})"));
    std::_Exit(0);
  } else if (command == "x-die") {
    die_by_signal();
  } else if (command == "x-poweroff") {
    say(monitor,
        reply(id, "{}") + event("SHUTDOWN", R"({"guest":true,"reason":"guest-shutdown"})"));
    if (mode != "stays") std::_Exit(0);
    say(monitor, event("STOP", "{}"));
  } else if (command == "x-panic") {
    const bool stays = mode == "stays";
    say(monitor, reply(id, "{}") + event("GUEST_PANICKED", stays ? R"({"action":"pause"})"
                                                                 : R"({"action":"poweroff"})"));
    if (stays) {
      say(monitor, event("STOP", "{}"));
      return;
    }
    say(monitor, event("SHUTDOWN", R"({"guest":true,"reason":"guest-panic"})"));
    std::_Exit(0);
  } else if (command == "x-hang") {
    say(monitor, reply(id, "{}") + event("WATCHDOG", R"({"action":"poweroff"})"));
    std::_Exit(0);
  } else if (command == "x-storm") {
    constexpr int kEvents = 200'000;
    for (int i = 0; i < kEvents; ++i) say(monitor, event("RESET", R"({"guest":true})"));
    say(monitor, reply(id, "{}"));
  } else if (command == "x-flood") {
    flood(console_of_guest);
    say(monitor, reply(id, "{}"));
  } else {
    say(monitor, reply(id, "{}"));
  }
}

void serve(int monitor, const std::string& mode) {
  say(monitor, kGreeting);
  std::string received;
  char buffer[4096];
  while (true) {
    const ssize_t got = ::recv(monitor, buffer, sizeof(buffer), 0);
    if (got < 0 && errno == EAGAIN) {
      fd_set readable;
      FD_ZERO(&readable);
      FD_SET(monitor, &readable);
      ::select(monitor + 1, &readable, nullptr, nullptr, nullptr);
      continue;
    }
    if (got <= 0) return;
    received.append(buffer, static_cast<std::size_t>(got));
    // Requests are one a line, or glued: each ends with the brace that closes its outermost one.
    int depth = 0;
    std::size_t start = 0;
    for (std::size_t index = 0; index < received.size(); ++index) {
      if (received[index] == '{' && depth++ == 0) start = index;
      if (received[index] == '}' && --depth == 0) {
        answer(monitor, mode, received.substr(start, index + 1 - start));
        received.erase(0, index + 1);
        index = std::string::npos;
      }
    }
  }
}

[[noreturn]] void serve_all(int monitor, const std::string& mode) {
  while (true) {
    serve(monitor, mode);
    // As QEMU does: the next client.
    ::close(monitor);
    monitor = client_of(kMonitorFd);
  }
}

}  // namespace

int main(int count, char** words) {
  const std::string probe = setting("FAKE_QEMU_PROBE");
  bool is_probed = false;
  for (int i = 2; i < count; ++i) {
    is_probed |= std::string_view(words[i - 1]) == "-M" && std::string_view(words[i]) == "none";
  }
  if (is_probed && !probe.empty()) ::execv(probe.c_str(), words);
  const std::string mode = setting("FAKE_QEMU");
  if (mode == "exit") {
    complain();
    return 1;
  }
  if (mode == "signal") {
    complain();
    die_by_signal();
  }
  if (mode == "silent") return 0;
  if (mode == "mute") hang();
  int monitor = client_of(kMonitorFd);
  if (mode == "quiet") hang();
  if (mode == "garbage") {
    say(monitor, "SSH-2.0-OpenSSH_9.2p1\r\n");
    hang();
  }
  if (mode == "half" || mode == "greet-close" || mode == "greet-die") {
    say(monitor, mode == "half" ? kGreeting.substr(0, 40) : kGreeting);
    if (mode == "greet-die") {
      complain();
      return 1;
    }
    ::shutdown(monitor, SHUT_RDWR);
    hang();
  }
  if (mode == "leaderless") {
    std::thread(serve_all, monitor, mode).detach();
    ::pthread_exit(nullptr);
  }
  serve_all(monitor, mode);
}
