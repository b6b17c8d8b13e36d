// vmrig logs: QEMU's and vmrig's log of a VM.
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "launcher/cli/output.hpp"
#include "launcher/cli/signal_input.hpp"
#include "launcher/commands/commands.hpp"
#include "launcher/commands/vm_connection.hpp"
#include "launcher/process.hpp"

namespace vmrig {
namespace {

struct LogsOptions {
  std::string name;
  bool follow = false;
  bool json = false;
};

// One file, read on from where the last read ended. Stays readable when the VM's folder goes.
class LogReader {
 public:
  LogReader(const char* title, const std::string& path)
      : title_(title),
        path_(path),
        file_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)) {}

  bool is_open() const { return static_cast<bool>(file_); }
  const std::string& path() const { return path_; }
  std::string_view title() const { return title_; }

  // All that has come since.
  std::string read_on() {
    std::string text;
    struct stat status {};
    // One that was cut begins anew.
    if (file_ && ::fstat(file_.get(), &status) == 0 &&
        status.st_size < ::lseek(file_.get(), 0, SEEK_CUR)) {
      ::lseek(file_.get(), 0, SEEK_SET);
    }
    std::array<char, 16384> buffer{};
    while (file_) {
      const ssize_t got = ::read(file_.get(), buffer.data(), buffer.size());
      if (got > 0) text.append(buffer.data(), static_cast<std::size_t>(got));
      if (got == 0 || (got < 0 && errno != EINTR)) break;
    }
    return text;
  }

 private:
  const char* title_;
  std::string path_;
  Fd file_;
};

// Prints as tail does: a heading each time that another log has the word. For a program an object a
// line.
class LogPrinter {
 public:
  enum class Form { kText, kJson };
  explicit LogPrinter(Form form) : form_(form) {}

  void print(LogReader& log) {
    std::string text = log.read_on();
    if (text.empty()) return;
    if (form_ == Form::kJson) return print_lines(log, text);
    std::string out;
    if (last_ != &log) {
      out = fmt::format("{}==> {} <==\n", last_ == nullptr ? "" : "\n", log.title());
      last_ = &log;
    }
    // A log holds what a guest can make QEMU say: a terminal gets it escaped, a file as it is.
    out += stdout_is_terminal() ? printable_lines(text) : text;
    write_out(out);
  }

  // What a log holds behind its last newline.
  void finish() {
    for (auto& [title, begun] : begun_) {
      if (!begun.empty()) write_line(title, std::exchange(begun, {}));
    }
  }

 private:
  void print_lines(LogReader& log, const std::string& text) {
    std::string& begun = begun_[std::string(log.title())];
    begun += text;
    std::size_t from = 0;
    for (std::size_t end = 0; (end = begun.find('\n', from)) != std::string::npos; from = end + 1) {
      write_line(log.title(), begun.substr(from, end - from));
    }
    begun.erase(0, from);
  }

  static void write_line(std::string_view title, const std::string& line) {
    const Json json = {{"log", title}, {"line", line}};
    write_out(json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
  }

  Form form_;
  const LogReader* last_ = nullptr;
  std::map<std::string, std::string> begun_;  // of each log the line that is not whole yet
};

Fd watch(const std::vector<LogReader>& logs) {
  Fd inotify(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!inotify) throw system_error("watch the logs", {}, errno);
  for (const LogReader& log : logs) {
    if (log.is_open()) ::inotify_add_watch(inotify.get(), log.path().c_str(), IN_MODIFY);
  }
  return inotify;
}

void drain(int fd) {
  std::array<char, 4096> buffer{};
  while (::read(fd, buffer.data(), buffer.size()) > 0) {
  }
}

// Until the VM is gone (its QEMU without, else its supervisor), or a signal.
void follow(std::vector<LogReader>& logs, LogPrinter& printer, const VmEntry& entry,
            const Fd& inotify) {
  if (!entry.living() || !entry.state) return;
  const Fd process =
      open_pidfd(entry.supervisor_alive ? entry.state->supervisor : entry.state->qemu);
  const SignalInput signals{SIGTERM, SIGINT, SIGHUP};
  for (bool ended = !process; !ended;) {
    std::array<pollfd, 3> fds = {pollfd{.fd = inotify.get(), .events = POLLIN, .revents = 0},
                                 pollfd{.fd = process.get(), .events = POLLIN, .revents = 0},
                                 pollfd{.fd = signals.fd(), .events = POLLIN, .revents = 0}};
    if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) {
      throw system_error("wait for the logs", {}, errno);
    }
    if (fds[0].revents != 0) drain(inotify.get());
    ended = fds[1].revents != 0 || fds[2].revents != 0;
    for (LogReader& log : logs) printer.print(log);
  }
}

ExitStatus logs(const LogsOptions& options, const Context& context) {
  const StateRoot root = open_root_for(context, options.name);
  const VmEntry entry = find_vm(root, options.name);
  const VmFolder folder = root.folder(options.name);
  std::vector<LogReader> all;
  // Before each stands what was cut off of it.
  const auto path_of = [&folder](const char* name, std::string_view suffix) {
    return folder.path_of(name + std::string(suffix));
  };
  all.emplace_back("QEMU, before", path_of(kQemuLogName, kOldLogSuffix));
  all.emplace_back("QEMU", folder.path_of(kQemuLogName));
  all.emplace_back("vmrig, before", path_of(kVmrigLogName, kOldLogSuffix));
  all.emplace_back("vmrig", folder.path_of(kVmrigLogName));
  // Watched before the first read: nothing can come between the two unseen.
  const Fd inotify = options.follow ? watch(all) : Fd();
  LogPrinter printer(options.json ? LogPrinter::Form::kJson : LogPrinter::Form::kText);
  for (LogReader& log : all) printer.print(log);
  if (options.follow) follow(all, printer, entry, inotify);
  printer.finish();
  return ExitStatus::kDone;
}

}  // namespace

RunCommand define_logs(CommandLine& line) {
  auto options = std::make_shared<LogsOptions>();
  line.positional("NAME", "The VM", options->name);
  line.flag("--follow", "Go on printing until the VM ends", options->follow);
  line.flag("--json", "An object a line: which log, and the line", options->json);
  return [options](const Context& context) { return logs(*options, context); };
}

}  // namespace vmrig
