#include "tests/support/terminal_command.hpp"

#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <stdexcept>
#include <vector>

namespace vmrig::testing {
namespace {

using Clock = std::chrono::steady_clock;

int milliseconds_until(Clock::time_point until) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now());
  return static_cast<int>(std::max<std::chrono::milliseconds::rep>(left.count(), 0));
}

}  // namespace

TerminalCommand::TerminalCommand(const CommandRequest& request) {
  std::vector<char*> argv;
  for (const std::string& word : request.argv) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  const winsize size{.ws_row = 24, .ws_col = 80, .ws_xpixel = 0, .ws_ypixel = 0};
  int terminal = -1;
  pid_ = ::forkpty(&terminal, nullptr, nullptr, &size);
  if (pid_ < 0) throw std::runtime_error("forkpty");
  if (pid_ == 0) {
    for (const auto& [name, value] : request.environment) {
      ::setenv(name.c_str(), value.c_str(), 1);
    }
    ::execvp(argv.front(), argv.data());
    ::_exit(127);
  }
  terminal_ = Fd(terminal);
  pidfd_ = Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
}

TerminalCommand::~TerminalCommand() {
  if (has_ended_) return;
  ::kill(-pid_, SIGKILL);
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void TerminalCommand::type(std::string_view keys) const {
  if (::write(terminal_.get(), keys.data(), keys.size()) != static_cast<ssize_t>(keys.size())) {
    throw std::runtime_error("type");
  }
}

void TerminalCommand::resize(unsigned short rows, unsigned short columns) const {
  const winsize size{.ws_row = rows, .ws_col = columns, .ws_xpixel = 0, .ws_ypixel = 0};
  ::ioctl(terminal_.get(), TIOCSWINSZ, &size);
}

termios TerminalCommand::mode() const {
  termios now{};
  ::tcgetattr(terminal_.get(), &now);
  return now;
}

bool TerminalCommand::read_more(Clock::time_point until) {
  std::array<pollfd, 1> fds = {pollfd{.fd = terminal_.get(), .events = POLLIN, .revents = 0}};
  if (::poll(fds.data(), fds.size(), milliseconds_until(until)) <= 0) return false;
  std::array<char, 4096> buffer{};
  // EIO: the other end is closed.
  const ssize_t got = ::read(terminal_.get(), buffer.data(), buffer.size());
  if (got <= 0) return false;
  shown_.append(buffer.data(), static_cast<std::size_t>(got));
  return true;
}

bool TerminalCommand::wait_for(std::string_view text, std::chrono::milliseconds within) {
  const Clock::time_point until = Clock::now() + within;
  while (shown_.find(text) == std::string::npos) {
    if (!read_more(until)) return false;
  }
  return true;
}

int TerminalCommand::wait(std::chrono::milliseconds within) {
  if (has_ended_) return status_;
  const Clock::time_point until = Clock::now() + within;
  // What it shows has to be read, or it would never end.
  while (read_more(until)) {
  }
  pollfd ended{.fd = pidfd_.get(), .events = POLLIN, .revents = 0};
  if (::poll(&ended, 1, milliseconds_until(until)) <= 0) return -1;
  int status = 0;
  ::waitpid(pid_, &status, 0);
  has_ended_ = true;
  status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return status_;
}

}  // namespace vmrig::testing
