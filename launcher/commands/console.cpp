// vmrig console: the guest's serial console on this terminal, or through pipes.
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "launcher/cli/output.hpp"
#include "launcher/cli/raw_terminal.hpp"
#include "launcher/cli/signal_input.hpp"
#include "launcher/commands/commands.hpp"
#include "launcher/commands/seconds.hpp"
#include "launcher/commands/vm_connection.hpp"

namespace vmrig {
namespace {

constexpr char kLeaveKey = 0x1d;  // Ctrl-], as telnet's and virsh's
constexpr std::size_t kChunk = 16384;

struct ConsoleOptions {
  std::string name;
  std::optional<double> timeout_s;
  bool json = false;
};

// Carries bytes both ways until one of the ends is reached.
class ConsoleSession {
 public:
  enum class End { kLeft, kVmEnded, kTimeUp, kSignal };

  ConsoleSession(int socket, bool interactive, qmp::Deadline deadline)
      : socket_(socket), interactive_(interactive), deadline_(deadline) {}

  End run(const SignalInput& signals) {
    for (;;) {
      // Input is read only as fast as the guest takes it.
      const bool wants_input = !input_ended_ && to_guest_.empty();
      const auto socket_events = static_cast<short>(to_guest_.empty() ? POLLIN : POLLIN | POLLOUT);
      std::array<pollfd, 3> fds = {
          pollfd{.fd = socket_, .events = socket_events, .revents = 0},
          pollfd{.fd = signals.fd(), .events = POLLIN, .revents = 0},
          pollfd{.fd = wants_input ? STDIN_FILENO : -1, .events = POLLIN, .revents = 0}};
      const int ready = ::poll(fds.data(), fds.size(), milliseconds_left());
      if (ready < 0 && errno != EINTR) throw system_error("wait for the console", {}, errno);
      if (ready == 0 && qmp::Deadline::clock::now() >= deadline_) return End::kTimeUp;
      if (ready <= 0) continue;
      if (fds[1].revents != 0) {
        signal_ = signals.take();
        return End::kSignal;
      }
      if ((fds[0].revents & ~POLLOUT) != 0 && !print_output()) return End::kVmEnded;
      if ((fds[0].revents & POLLOUT) != 0) send_input();
      if (fds[2].revents != 0 && !read_input()) return End::kLeft;
    }
  }

  int signal() const { return signal_; }

 private:
  int milliseconds_left() const {
    if (deadline_ == qmp::kNoDeadline) return -1;
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline_ - qmp::Deadline::clock::now());
    constexpr std::chrono::milliseconds::rep kMost = 3'600'000;
    return static_cast<int>(std::clamp<std::chrono::milliseconds::rep>(left.count(), 0, kMost));
  }

  // False when the console is at its end.
  bool print_output() {
    const ssize_t got = ::recv(socket_, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    if (got < 0) return errno == EAGAIN || errno == EINTR;
    if (got == 0) return false;
    write_out(std::string_view(buffer_.data(), static_cast<std::size_t>(got)));
    return true;
  }

  void send_input() {
    const ssize_t sent =
        ::send(socket_, to_guest_.data(), to_guest_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) to_guest_.erase(0, static_cast<std::size_t>(sent));
    // A lasting fault shows at the next read of the socket.
  }

  // False when the user leaves.
  bool read_input() {
    const ssize_t got = ::read(STDIN_FILENO, buffer_.data(), buffer_.size());
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return true;
    if (got <= 0) {
      // The end of a script is not the end of what the guest has to say; a terminal's is.
      input_ended_ = true;
      return !interactive_;
    }
    std::string_view typed(buffer_.data(), static_cast<std::size_t>(got));
    const std::size_t leave = interactive_ ? typed.find(kLeaveKey) : std::string_view::npos;
    to_guest_ += typed.substr(0, leave);
    send_input();
    return leave == std::string_view::npos;
  }

  int socket_;
  bool interactive_;
  qmp::Deadline deadline_;
  int signal_ = 0;
  bool input_ended_ = false;
  std::string to_guest_;
  std::array<char, kChunk> buffer_{};
};

Fd connect_console(const Context& context, const std::string& name) {
  const StateRoot root = open_root_for(context, name);
  const VmEntry entry = find_vm(root, name);
  if (!entry.supervisor_alive) {
    const bool orphan = entry.qemu_alive;
    throw Error(
        {.status = orphan ? ExitStatus::kFailed : ExitStatus::kNoSuchVm,
         .operation = "open the console of VM",
         .object = name,
         .cause = orphan ? "its supervisor, which serves the console, is dead" : "it has ended",
         .mend = fmt::format(fmt::runtime(orphan ? "vmrig recover" : "vmrig logs {}"), name)});
  }
  try {
    return root.folder(name).connect(kConsoleSocketName, qmp::deadline_in(kTalkTimeout));
  } catch (const qmp::Error& fault) {
    // The VM may have gone since it was looked up.
    const std::optional<VmEntry> now = root.find(name);
    if (!now || !now->supervisor_alive || now->condition == VmCondition::kStopping) {
      throw Error({.status = ExitStatus::kNoSuchVm,
                   .operation = "open the console of VM",
                   .object = name,
                   .cause = "it has ended",
                   .mend = {}});
    }
    const bool none = entry.state && entry.state->serial_sockets.empty();
    throw Error({.status = fault.kind() == qmp::ErrorKind::timeout ? ExitStatus::kTimeUp
                                                                   : ExitStatus::kFailed,
                 .operation = "open the console of VM",
                 .object = name,
                 .cause = none ? "it has no serial port of type socket" : fault.what(),
                 .mend = none ? R"("serial": [{"id": "con0", "type": "socket"}])" : ""});
  }
}

ExitStatus console(const ConsoleOptions& options, const Context& context) {
  const Fd socket = connect_console(context, options.name);
  const bool interactive = ::isatty(STDIN_FILENO) == 1;
  if (interactive) note(fmt::format("console of {}, Ctrl-] leaves", quote(options.name)));
  const qmp::Deadline deadline =
      options.timeout_s ? qmp::deadline_in(to_milliseconds(*options.timeout_s)) : qmp::kNoDeadline;
  ConsoleSession session(socket.get(), interactive, deadline);
  ConsoleSession::End end{};
  {
    // In this order: a signal must not come while the terminal is raw and not restored.
    const SignalInput signals{SIGTERM, SIGINT, SIGHUP, SIGQUIT};
    const RawTerminal terminal(STDIN_FILENO);
    end = session.run(signals);
  }
  if (interactive) write_out("\n");
  switch (end) {
    case ConsoleSession::End::kLeft:
      return ExitStatus::kDone;
    case ConsoleSession::End::kVmEnded:
      if (interactive) note(fmt::format("the console of {} has ended", quote(options.name)));
      return ExitStatus::kDone;
    case ConsoleSession::End::kTimeUp:
      return ExitStatus::kTimeUp;
    case ConsoleSession::End::kSignal:
      break;
  }
  // Ends as the signal would have ended it, so that a shell sees what happened.
  std::signal(session.signal(), SIG_DFL);
  std::raise(session.signal());
  return ExitStatus::kFailed;
}

}  // namespace

RunCommand define_console(CommandLine& line) {
  auto options = std::make_shared<ConsoleOptions>();
  line.positional("NAME", "The VM", options->name);
  line.seconds("--timeout", "Leave after this time, with exit status 124", options->timeout_s);
  line.flag("--json", "Faults as JSON", options->json);
  return [options](const Context& context) { return console(*options, context); };
}

}  // namespace vmrig
