#include <fmt/format.h>
#include <unistd.h>

#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <ctime>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "launcher/cli/line_editor.hpp"
#include "launcher/cli/output.hpp"
#include "launcher/cli/qmp_completion.hpp"
#include "launcher/cli/qmp_line.hpp"
#include "launcher/cli/report.hpp"
#include "launcher/commands/environment.hpp"
#include "launcher/commands/qmp_exchange.hpp"
#include "launcher/commands/qmp_session.hpp"
#include "launcher/text.hpp"

namespace vmrig {
namespace {

constexpr std::string_view kHelp =
    "COMMAND                     a QMP command: query-status\n"
    "COMMAND {\"key\": \"value\"}    with its arguments, a JSON object\n"
    "{\"execute\": \"COMMAND\"}      a whole QMP request\n"
    "exit, Ctrl-D                leave (\"quit\" is QEMU's own command, and ends the VM)\n"
    "Tab completes commands, members and values; Ctrl-R searches the history, which leaves out\n"
    "lines that begin with a space; Ctrl-C stops waiting for a reply.\n";

std::string clock_text(std::int64_t seconds, std::int64_t microseconds) {
  const std::time_t time = seconds;
  std::tm local{};
  if (seconds < 0 || ::localtime_r(&time, &local) == nullptr) return "--:--:--";
  return fmt::format("{:02}:{:02}:{:02}.{:03}", local.tm_hour, local.tm_min, local.tm_sec,
                     microseconds / 1000);
}

class Terminal {
 public:
  Terminal(VmConnection vm, const QmpSessionOptions& options)
      : options_(options),
        exchange_(std::move(vm), options.timeout),
        signals_(exchange_.vm().client().client().get_executor(), SIGINT, SIGTERM, SIGHUP),
        editor_(editor_options()) {
    signals_.add(SIGQUIT);
    signals_.add(SIGWINCH);
    await_signal();
    events_ = exchange_.vm().client().client().subscribe(
        [this](const qmp::Event& event) { editor_.print(event_text(event)); });
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;
  ~Terminal() = default;

  void run() {
    while (end_signal_ == 0) {
      LineEditor::Line line = editor_.read_line();
      is_interrupted_ = false;
      if (line.kind == LineEditor::Line::Kind::kInterrupted) continue;
      if (line.kind == LineEditor::Line::Kind::kEnd) break;
      if (line.text == "exit") return;
      if (line.text == "help" || line.text == "?") {
        write_out(kHelp);
        continue;
      }
      run_line(line.text);
      if (exchange_.is_closed()) break;
    }
    if (end_signal_ == 0 && !exchange_.is_closed()) write_out("\n");
  }

  bool has_vm_gone() const { return exchange_.is_closed(); }
  // The signal that ended it; 0 for none.
  int end_signal() const { return end_signal_; }

 private:
  LineEditorOptions editor_options() {
    LineEditorOptions options;
    options.prompt = printable(options_.name) + "> ";
    options.history_file = qmp_history_file();
    options.await_input = [this] { return await_input(); };
    options.complete = [this](std::string_view typed) { return complete(typed); };
    return options;
  }

  LineEditorOptions::Input await_input() {
    const QmpExchange::News news =
        exchange_.await([this] { return is_interrupted_ || end_signal_ != 0; });
    if (news == QmpExchange::News::kInput) {
      exchange_.has_read();
      return LineEditorOptions::Input::kReady;
    }
    if (news == QmpExchange::News::kInterrupted && end_signal_ == 0) {
      return LineEditorOptions::Input::kInterrupted;
    }
    return LineEditorOptions::Input::kEnd;
  }

  void await_signal() {
    signals_.async_wait([this](const boost::system::error_code& fault, int number) {
      if (fault) return;
      if (number == SIGWINCH) {
        editor_.resize();
      } else if (number == SIGINT) {
        is_interrupted_ = true;
      } else {
        end_signal_ = number;
      }
      await_signal();
    });
  }

  void run_line(const std::string& text) {
    try {
      Json request = read_qmp_line(text);
      if (request.is_null()) return;
      const Json reply =
          exchange_.run(std::move(request), [this] { return is_interrupted_ || end_signal_ != 0; });
      is_interrupted_ = false;
      write_out(reply_text(reply));
    } catch (const OutputClosed&) {
      throw;
    } catch (const std::exception& fault) {
      is_interrupted_ = false;
      if (exchange_.is_closed()) return;
      report_fault(fault, ErrorForm::kText);
    }
  }

  std::string reply_text(const Json& reply) const {
    if (options_.form == QmpSessionOptions::Form::kJson) return json_text(reply) + "\n";
    if (const auto value = reply.find("return"); value != reply.end()) {
      return json_text(*value, 2) + "\n";
    }
    const Json& error = reply.at("error");
    return styled(printable(fmt::format("{}: {}", error.value("class", std::string()),
                                        error.value("desc", std::string()))),
                  Style::kProblem, stdout_colour()) +
           "\n";
  }

  std::string event_text(const qmp::Event& event) const {
    if (options_.form == QmpSessionOptions::Form::kJson) return json_text(event.to_json()) + "\n";
    const std::string text = fmt::format("{} {} {}", clock_text(event.seconds, event.microseconds),
                                         printable(event.name), json_text(event.data));
    return styled(text, Style::kDim, stdout_colour()) + "\n";
  }

  LineEditorOptions::Completion complete(std::string_view typed) {
    try {
      if (!schema_) learn();
    } catch (const std::exception&) {
      return {};  // a QEMU that does not answer can't be completed from
    }
    Completion found = complete_qmp(*schema_, commands_, typed);
    return {.from = found.from, .words = std::move(found.words), .after = std::move(found.after)};
  }

  void learn() {
    VmConnection& vm = exchange_.vm();
    const qmp::Deadline deadline = qmp::deadline_in(kTalkTimeout);
    const Json commands = vm.execute("query-commands", Json::object(), deadline);
    for (const Json& each : commands) commands_.insert(each.at("name").get<std::string>());
    schema_.emplace(vm.execute("query-qmp-schema", Json::object(), deadline));
  }

  const QmpSessionOptions& options_;
  QmpExchange exchange_;
  boost::asio::signal_set signals_;
  bool is_interrupted_ = false;
  int end_signal_ = 0;
  std::optional<qmp::Schema> schema_;
  std::set<std::string> commands_;
  LineEditor editor_;
  qmp::Subscription events_;
};

}  // namespace

ExitStatus run_qmp_terminal(VmConnection vm, const QmpSessionOptions& options) {
  note("help tells how, Ctrl-D leaves");
  int end_signal = 0;
  bool has_vm_gone = false;
  {
    Terminal terminal(std::move(vm), options);
    terminal.run();
    end_signal = terminal.end_signal();
    has_vm_gone = terminal.has_vm_gone();
  }
  if (has_vm_gone) note(fmt::format("VM {} has ended", quote(options.name)));
  if (end_signal != 0) {
    // Ends as the signal would have ended it, so that a shell sees what happened.
    std::signal(end_signal, SIG_DFL);
    std::raise(end_signal);
  }
  return ExitStatus::kDone;
}

}  // namespace vmrig
