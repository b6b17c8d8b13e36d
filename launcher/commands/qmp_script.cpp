#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "launcher/cli/output.hpp"
#include "launcher/cli/qmp_line.hpp"
#include "launcher/cli/report.hpp"
#include "launcher/commands/qmp_exchange.hpp"
#include "launcher/commands/qmp_session.hpp"
#include "launcher/text.hpp"

namespace vmrig {
namespace {

constexpr std::size_t kChunk = 16384;
// More than any command that QEMU takes (64 MiB is its own bound).
constexpr std::size_t kLongestLine = std::size_t{8} << 20;

constexpr auto kNever = [] { return false; };

class ScriptLines {
 public:
  explicit ScriptLines(QmpExchange& exchange) : exchange_(exchange) {}

  // The next line; nothing at the end. Throws Error when the VM goes while the script waits.
  std::optional<std::string> next() {
    for (;;) {
      const std::size_t end = held_.find('\n', scanned_);
      if (end != std::string::npos) {
        std::string line = held_.substr(0, end);
        held_.erase(0, end + 1);
        scanned_ = 0;
        return line;
      }
      scanned_ = held_.size();
      if (has_ended_) {
        if (held_.empty()) return std::nullopt;
        scanned_ = 0;
        return std::exchange(held_, {});
      }
      if (held_.size() > kLongestLine) {
        throw Error({.status = ExitStatus::kUsage,
                     .operation = "read a line of the script",
                     .object = {},
                     .cause = fmt::format("it is longer than {} bytes", kLongestLine),
                     .mend = {}});
      }
      read();
    }
  }

 private:
  void read() {
    if (exchange_.await(kNever) == QmpExchange::News::kClosed) {
      throw exchange_.vm().explain(qmp::Error(qmp::ErrorKind::closed, exchange_.close_reason()));
    }
    const ssize_t got = ::read(STDIN_FILENO, buffer_.data(), buffer_.size());
    exchange_.has_read();
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (got < 0) throw system_error("read", "standard input", errno);
    if (got == 0) has_ended_ = true;
    held_.append(buffer_.data(), static_cast<std::size_t>(got));
  }

  QmpExchange& exchange_;
  std::string held_;
  std::size_t scanned_ = 0;
  bool has_ended_ = false;
  std::array<char, kChunk> buffer_{};
};

std::string one_line(const Json& json) { return json_text(json) + "\n"; }

Json own_refusal(const std::string& desc) {
  return Json{{"error", {{"class", "GenericError"}, {"desc", desc}}}};
}

// For people; to a program the reply says it all.
void tell(const QmpSessionOptions& options, std::size_t line, const std::string& fault) {
  if (options.form == QmpSessionOptions::Form::kJson) return;
  note(fmt::format("line {}: {}", line, fault));
}

}  // namespace

ExitStatus run_qmp_script(VmConnection vm, const QmpSessionOptions& options) {
  QmpExchange exchange(std::move(vm), options.timeout);
  ScriptLines lines(exchange);
  ExitStatus status = ExitStatus::kDone;
  std::size_t number = 0;
  while (std::optional<std::string> line = lines.next()) {
    ++number;
    Json reply;
    ExitStatus here = ExitStatus::kDone;
    try {
      Json request = read_qmp_line(*line);
      if (request.is_null()) continue;
      reply = exchange.run(std::move(request), kNever);
      if (const auto error = reply.find("error"); error != reply.end()) {
        here = ExitStatus::kFailed;
        tell(options, number,
             fmt::format("{}: {}", error->value("class", std::string()),
                         error->value("desc", std::string())));
      }
    } catch (const std::exception& fault) {
      if (exchange.is_closed()) throw;
      const Report report = describe_fault(fault, ErrorForm::kText);
      here = report.status;
      reply = own_refusal(fault.what());
      tell(options, number, fault.what());
    }
    write_out(one_line(reply));
    if (here == ExitStatus::kDone) continue;
    if (status == ExitStatus::kDone) status = here;
    if (options.on_error == QmpSessionOptions::OnError::kStop) break;
  }
  return status;
}

}  // namespace vmrig
