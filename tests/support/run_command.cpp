#include "tests/support/run_command.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <stdexcept>
#include <system_error>

namespace vmrig::testing {
namespace {

struct Pipe {
  Fd read;
  Fd write;
};

Pipe make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    throw std::system_error(errno, std::generic_category(), "pipe");
  }
  return {.read = Fd(ends[0]), .write = Fd(ends[1])};
}

void make_non_blocking(const Fd& fd) { ::fcntl(fd.get(), F_SETFL, O_NONBLOCK); }

std::vector<std::string> merged_environment(const std::map<std::string, std::string>& over) {
  std::vector<std::string> all;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    if (!over.contains(text.substr(0, text.find('=')))) all.push_back(text);
  }
  for (const auto& [name, value] : over) all.push_back(name + "=" + value);
  return all;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> out;
  out.reserve(words.size() + 1);
  for (std::string& word : words) out.push_back(word.data());
  out.push_back(nullptr);
  return out;
}

// False at the end of the stream.
bool read_some(Fd& fd, std::string& text) {
  std::array<char, 16384> buffer{};
  const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
  if (got > 0) text.append(buffer.data(), static_cast<std::size_t>(got));
  if (got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR))) return true;
  fd.reset();
  return false;
}

}  // namespace

RunningCommand::RunningCommand(CommandRequest request)
    : request_(std::move(request)), begin_(Clock::now()), deadline_(begin_ + request_.deadline) {
  std::signal(SIGPIPE, SIG_IGN);
  start();
}

RunningCommand::~RunningCommand() {
  if (ended_ || pid_ <= 0) return;
  ::kill(-pid_, SIGKILL);
  int status = 0;
  ::waitpid(pid_, &status, 0);
}

void RunningCommand::start() {
  Pipe input = make_pipe();
  Pipe out = make_pipe();
  Pipe err = make_pipe();
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, input.read.get(), STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, out.write.get(), STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, err.write.get(), STDERR_FILENO);
  ::posix_spawnattr_init(&attributes);
  sigset_t defaults;
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);
  ::posix_spawnattr_setsigdefault(&attributes, &defaults);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF);
  std::vector<std::string> environment = merged_environment(request_.environment);
  const std::vector<char*> argv = pointers(request_.argv);
  const std::vector<char*> envp = pointers(environment);
  const int error =
      ::posix_spawnp(&pid_, argv.front(), &actions, &attributes, argv.data(), envp.data());
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  if (error != 0) throw std::system_error(error, std::generic_category(), request_.argv.front());
  pidfd_.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
  input_ = std::move(input.write);
  out_ = std::move(out.read);
  err_ = std::move(err.read);
  for (const Fd* fd : {&input_, &out_, &err_}) make_non_blocking(*fd);
}

void RunningCommand::send_signal(int number) const {
  if (!ended_) ::kill(pid_, number);
}

void RunningCommand::write_input(std::string_view text) { request_.input += text; }

// Carries bytes until something happened, or `until`.
RunningCommand::Pump RunningCommand::pump(Clock::time_point until) {
  if (input_ && request_.input.empty() && !request_.keep_input_open) input_.reset();
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now());
  const int timeout = static_cast<int>(std::clamp<std::chrono::milliseconds::rep>(
      left.count(), 0, std::chrono::milliseconds(kCommandDeadline).count()));
  std::array<pollfd, 4> fds = {
      pollfd{.fd = ended_ ? -1 : pidfd_.get(), .events = POLLIN, .revents = 0},
      pollfd{.fd = out_.get(), .events = POLLIN, .revents = 0},
      pollfd{.fd = err_.get(), .events = POLLIN, .revents = 0},
      pollfd{.fd = request_.input.empty() ? -1 : input_.get(), .events = POLLOUT, .revents = 0}};
  if (ended_ && !out_ && !err_) return Pump::kNothingMore;
  const int ready = ::poll(fds.data(), fds.size(), timeout);
  if (ready == 0) return Pump::kNothingMore;
  if (fds[1].revents != 0) read_some(out_, result_.out);
  if (fds[2].revents != 0) read_some(err_, result_.err);
  if (fds[3].revents != 0) {
    const ssize_t sent = ::write(input_.get(), request_.input.data(), request_.input.size());
    if (sent > 0) request_.input.erase(0, static_cast<std::size_t>(sent));
    if (sent < 0 && errno != EAGAIN) request_.input.clear();
  }
  if (fds[0].revents != 0) collect();
  return Pump::kOn;
}

void RunningCommand::collect() {
  int status = 0;
  if (::waitpid(pid_, &status, 0) != pid_) return;
  ended_ = true;
  constexpr int kSignalBase = 128;
  result_.status = WIFEXITED(status) ? WEXITSTATUS(status) : kSignalBase + WTERMSIG(status);
  result_.took = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin_);
}

// What it wrote last is still in the pipes; their end tells that nobody else holds them.
void RunningCommand::finish_output() {
  constexpr std::chrono::seconds kGrace{2};
  const auto until = Clock::now() + kGrace;
  while ((out_ || err_) && pump(until) == Pump::kOn) {
  }
  result_.output_left_open = out_ || err_;
  out_.reset();
  err_.reset();
}

const CommandResult& RunningCommand::wait() {
  request_.keep_input_open = false;
  while (!ended_ && pump(deadline_) == Pump::kOn) {
  }
  if (!ended_) {
    result_.timed_out = true;
    ::kill(-pid_, SIGKILL);
    collect();
  }
  finish_output();
  return result_;
}

bool RunningCommand::wait_for(const std::string& text, std::string_view wanted,
                              std::chrono::milliseconds within) {
  const auto until = Clock::now() + within;
  while (text.find(wanted) == std::string::npos) {
    if (pump(until) == Pump::kNothingMore) break;
  }
  return text.find(wanted) != std::string::npos;
}

bool RunningCommand::wait_for_out(std::string_view text, std::chrono::milliseconds within) {
  return wait_for(result_.out, text, within);
}

bool RunningCommand::wait_for_err(std::string_view text, std::chrono::milliseconds within) {
  return wait_for(result_.err, text, within);
}

CommandResult run_command(CommandRequest request) {
  RunningCommand command(std::move(request));
  return command.wait();
}

}  // namespace vmrig::testing
