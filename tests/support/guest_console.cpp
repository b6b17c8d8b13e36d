#include "tests/support/guest_console.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <random>
#include <stdexcept>

#include "qmp/unix_socket.hpp"

namespace vmrig::testing {
namespace {

// The guest's terminal takes lines of 4095 bytes (linux drivers/tty/n_tty.c).
constexpr std::size_t kMaxCommandBytes = 3000;

std::string quoted(const std::string& command) {
  std::string text = "'";
  for (const char c : command) {
    if (c == '\'') {
      text += R"('\'')";
    } else {
      text += c;
    }
  }
  return text + "'";
}

}  // namespace

GuestConsole::GuestConsole(const std::string& socket, Milliseconds boot_time, Shell shell)
    : session_(fmt::format("{:08x}", std::random_device()())) {
  const Clock::time_point deadline = Clock::now() + boot_time;
  socket_ = Fd(qmp::connect_unix(socket, deadline).release());
  if (shell == Shell::kIsSilent) send("\n", deadline);
  read_until("guest# ", deadline);
}

GuestAnswer GuestConsole::ask(const std::string& command, Milliseconds within) {
  if (command.size() > kMaxCommandBytes) throw std::runtime_error("the command is too long");
  const Clock::time_point deadline = Clock::now() + within;
  // What an earlier client's commands printed comes again: the token has to be new.
  const std::string token = fmt::format("{}.{}", session_, ++asked_);
  send(fmt::format("run {} {}\n", token, quoted(command)), deadline);
  read_until(fmt::format("\nbegin {}\n", token), deadline);
  GuestAnswer answer;
  answer.output = read_until(fmt::format("\ndone {} ", token), deadline);
  if (!answer.output.empty() && answer.output.back() == '\n') answer.output.pop_back();
  const std::string status = read_until("\n", deadline);
  std::from_chars(status.data(), status.data() + status.size(), answer.status);
  return answer;
}

std::string GuestConsole::run(const std::string& command, Milliseconds within) {
  GuestAnswer answer = ask(command, within);
  if (answer.status == 0) return std::move(answer.output);
  throw std::runtime_error(
      fmt::format("in the guest: {}: status {}: {}", command, answer.status, answer.output));
}

std::string GuestConsole::await(const std::string& condition, std::chrono::seconds within) {
  // The guest's clock decides; the host's waits a little longer, to hear the answer.
  constexpr std::chrono::seconds kMargin{30};
  return run(fmt::format("await {} {}", within.count(), quoted(condition)), within + kMargin);
}

void GuestConsole::wait_for(std::string_view text, Milliseconds within) {
  read_until(text, Clock::now() + within);
}

std::string GuestConsole::read_until(std::string_view text, Clock::time_point deadline) {
  std::size_t searched = 0;
  while (true) {
    const std::size_t found = unread_.find(text, searched);
    if (found != std::string::npos) {
      std::string before = unread_.substr(0, found);
      unread_.erase(0, found + text.size());
      return before;
    }
    searched = unread_.size() - std::min(unread_.size(), text.size());
    wait_for_socket(POLLIN, deadline, text);
    std::array<char, 4096> bytes{};
    const ssize_t got = ::recv(socket_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (got == 0) throw std::runtime_error("the console has ended: " + unread_);
    if (got < 0 && errno != EAGAIN && errno != EINTR) throw std::runtime_error("console: recv");
    for (ssize_t i = 0; i < got; ++i) {
      const char byte = bytes.at(static_cast<std::size_t>(i));
      if (byte != '\r') unread_ += byte;
    }
  }
}

void GuestConsole::send(std::string_view bytes, Clock::time_point deadline) {
  while (!bytes.empty()) {
    const ssize_t sent =
        ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    } else if (errno == EAGAIN) {
      wait_for_socket(POLLOUT, deadline, "room for a command");
    } else if (errno != EINTR) {
      throw std::runtime_error("the console takes no commands any more");
    }
  }
}

void GuestConsole::wait_for_socket(short events, Clock::time_point deadline,
                                   std::string_view wanted) {
  using std::chrono::ceil;
  const auto left = ceil<Milliseconds>(deadline - Clock::now()).count();
  pollfd socket{socket_.get(), events, 0};
  const int ready =
      left > 0 ? ::poll(&socket, 1, static_cast<int>(std::min<long long>(left, 3600 * 1000))) : 0;
  if (ready == 0) {
    throw std::runtime_error(
        fmt::format("the guest did not say \"{}\" in time; it said: {}", wanted, unread_));
  }
}

}  // namespace vmrig::testing
