#include "launcher/daemonize.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hostcfg/base/error.hpp"
#include "launcher/process.hpp"

namespace vmrig {
namespace {

Json to_json(const Error::Parts& parts) {
  return {{"status", static_cast<int>(parts.status)},
          {"operation", parts.operation},
          {"object", parts.object},
          {"cause", parts.cause},
          {"mend", parts.mend}};
}

Error::Parts parts_from_json(const Json& json) {
  return {.status = static_cast<ExitStatus>(json.at("status").get<int>()),
          .operation = json.at("operation").get<std::string>(),
          .object = json.at("object").get<std::string>(),
          .cause = json.at("cause").get<std::string>(),
          .mend = json.at("mend").get<std::string>()};
}

Json to_json(const Diagnostic& finding) {
  return {{"severity", static_cast<int>(finding.severity)},
          {"status", static_cast<int>(finding.status)},
          {"path", finding.path},
          {"message", finding.message},
          {"mend", finding.mend},
          {"file", finding.file},
          {"line", finding.line}};
}

Diagnostic diagnostic_from_json(const Json& json) {
  return {.severity = static_cast<Severity>(json.at("severity").get<int>()),
          .status = static_cast<ExitStatus>(json.at("status").get<int>()),
          .path = json.at("path").get<std::string>(),
          .message = json.at("message").get<std::string>(),
          .mend = json.at("mend").get<std::string>(),
          .file = json.at("file").get<std::string>(),
          .line = json.at("line").get<int>()};
}

volatile std::sig_atomic_t interrupts = 0;

// For a while, SIGINT interrupts what this process waits in and does no more.
class InterruptCounting {
 public:
  InterruptCounting() {
    interrupts = 0;
    struct sigaction action {};
    action.sa_handler = [](int) { interrupts = interrupts + 1; };
    ::sigaction(SIGINT, &action, &before_);  // no SA_RESTART
  }
  InterruptCounting(const InterruptCounting&) = delete;
  InterruptCounting& operator=(const InterruptCounting&) = delete;
  ~InterruptCounting() { ::sigaction(SIGINT, &before_, nullptr); }

 private:
  struct sigaction before_ {};
};

// The supervisor has a session of its own, and hears of no Ctrl-C: it is told of ours. Where the
// guest runs already it goes on, and so nothing comes.
void pass_interrupt_on(int fd, pid_t supervisor) {
  constexpr std::chrono::milliseconds kPatience{5000};
  ::kill(supervisor, SIGINT);
  pollfd word{.fd = fd, .events = POLLIN, .revents = 0};
  if (::poll(&word, 1, static_cast<int>(kPatience.count())) > 0) return;
  ::signal(SIGINT, SIG_DFL);
  (void)::raise(SIGINT);
}

// Up to the first newline, or the end when the writer is gone.
std::string read_line(int fd, pid_t supervisor) {
  std::string text;
  char buffer[4096];
  while (text.find('\n') == std::string::npos) {
    const ssize_t got = ::read(fd, buffer, sizeof(buffer));
    if (got < 0 && errno == EINTR) {
      if (interrupts > 0) pass_interrupt_on(fd, supervisor);
      continue;
    }
    if (got < 0) throw system_error("hear from the supervisor", {}, errno);
    if (got == 0) break;
    text.append(buffer, static_cast<std::size_t>(got));
  }
  return text;
}

Error silent_end(pid_t supervisor) {
  int status = 0;
  while (::waitpid(supervisor, &status, 0) < 0 && errno == EINTR) {
  }
  const ExitReport report = WIFSIGNALED(status) ? ExitReport{.signal_number = WTERMSIG(status)}
                                                : ExitReport{.status = WEXITSTATUS(status)};
  if (interrupts > 0 && report.signal_number == 0) {
    return Error({.operation = "start VM",
                  .object = {},
                  .cause = "it was interrupted; the host is as before",
                  .mend = {}});
  }
  return Error(
      {.operation = "start VM",
       .object = {},
       .cause = fmt::format("its supervisor ended ({}) before the VM ran", to_string(report)),
       .mend = "vmrig recover"});
}

void detach_standard_streams() {
  const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null) throw system_error("open", "/dev/null", errno);
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    ::dup2(null.get(), stream);
  }
}

[[noreturn]] void be_supervisor(const std::function<int(ReadyPipe&)>& supervisor, Fd pipe) {
  int status = static_cast<int>(ExitStatus::kFailed);
  ReadyPipe ready(std::move(pipe));
  try {
    ::setsid();
    status = supervisor(ready);
  } catch (const std::exception& error) {
    ready.fail(error);
  }
  // Not exit(): the exit handlers belong to the process that was forked.
  std::fflush(nullptr);
  ::_exit(status);
}

}  // namespace

void ReadyPipe::send(const Json& message) {
  if (!fd_) return;
  std::string text = message.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  std::string_view rest = text;
  // The command may be gone (Ctrl-C): the VM goes on without it.
  struct sigaction ignore {};
  struct sigaction before {};
  ignore.sa_handler = SIG_IGN;
  ::sigaction(SIGPIPE, &ignore, &before);
  while (!rest.empty()) {
    const ssize_t put = ::write(fd_.get(), rest.data(), rest.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) break;
    rest.remove_prefix(static_cast<std::size_t>(put));
  }
  ::sigaction(SIGPIPE, &before, nullptr);
  fd_.reset();
}

void ReadyPipe::ready(const Json& report) {
  // Before the word is given: the command's caller may read its output to the end.
  detach_standard_streams();
  send(Json{{"ready", report}});
}

void ReadyPipe::fail(const std::exception& error) {
  if (const auto* ours = dynamic_cast<const Error*>(&error)) {
    send(Json{{"error", to_json(ours->parts())}});
  } else if (const auto* many = dynamic_cast<const DiagnosticsError*>(&error)) {
    Json list = Json::array();
    for (const Diagnostic& finding : many->diagnostics()) list.push_back(to_json(finding));
    send(Json{{"diagnostics", std::move(list)}});
  } else {
    send(Json{
        {"error", to_json(Error::Parts{
                      .operation = "start VM", .object = {}, .cause = error.what(), .mend = {}})}});
  }
}

DetachedProcess::DetachedProcess(const std::function<int(ReadyPipe&)>& supervisor) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw system_error("make a pipe", {}, errno);
  Fd reading(ends[0]);
  Fd writing(ends[1]);
  std::fflush(nullptr);  // or both processes would print what is buffered
  pid_ = ::fork();
  if (pid_ < 0) throw system_error("start the supervisor", {}, errno);
  if (pid_ == 0) {
    reading.reset();
    be_supervisor(supervisor, std::move(writing));
  }
  pipe_ = std::move(reading);
}

Json DetachedProcess::report() {
  const InterruptCounting counting;
  const std::string text = read_line(pipe_.get(), pid_);
  if (text.empty()) throw silent_end(pid_);
  Json message = Json::parse(text);
  if (message.contains("ready")) return std::move(message["ready"]);
  // It has said its last word and is about to end: no zombie while the error is shown.
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (message.contains("error")) throw Error(parts_from_json(message["error"]));
  std::vector<Diagnostic> findings;
  for (const Json& finding : message.at("diagnostics")) {
    findings.push_back(diagnostic_from_json(finding));
  }
  throw DiagnosticsError(std::move(findings));
}

Json run_detached(const std::function<int(ReadyPipe&)>& supervisor) {
  return DetachedProcess(supervisor).report();
}

void run_unheard(const std::function<void()>& work) {
  std::fflush(nullptr);
  const pid_t between = ::fork();
  if (between > 0) {
    while (::waitpid(between, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  if (between != 0) return;
  ::setsid();
  // Nobody's child: the one that waits for QEMU must not find it among its own.
  if (::fork() != 0) ::_exit(0);
  ::syscall(SYS_close_range, 3U, ~0U, 0U);
  try {
    detach_standard_streams();
    work();
  } catch (const std::exception&) {
    ::_exit(1);
  }
  ::_exit(0);
}

}  // namespace vmrig
