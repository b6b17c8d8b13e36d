#include "launcher/commands/qmp_exchange.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "qmp/error.hpp"

namespace vmrig {

QmpExchange::QmpExchange(VmConnection vm, std::chrono::milliseconds timeout)
    : vm_(std::move(vm)), timeout_(timeout), input_(vm_.client().client().get_executor()) {
  // A duplicate, because the descriptor is closed with the object. Without standard input await()
  // tells of input at once, and reading it finds the fault.
  const int input = ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
  if (input >= 0) input_.assign(input);
  vm_.client().client().on_closed([this](const std::string& reason) {
    is_closed_ = true;
    close_reason_ = reason;
  });
}

Json QmpExchange::run(Json request, const std::function<bool()>& is_given_up) {
  struct Answer {
    std::optional<Json> reply;
    std::optional<qmp::Error> failure;
  };
  // Shared: the reply to a command that was given up may come later.
  const auto answer = std::make_shared<Answer>();
  const Json id = request.value("id", Json());
  const bool has_id = request.contains("id");
  auto callback = [answer](const qmp::RawReply& reply) {
    if (reply.kind == qmp::RawReply::Kind::failed) {
      answer->failure = *reply.failure;
      return;
    }
    const bool refused = reply.kind == qmp::RawReply::Kind::error;
    answer->reply = Json{{refused ? "error" : "return", Json::parse(reply.body)}};
  };
  vm_.client().client().execute_raw(std::move(request), {}, std::move(callback),
                                    qmp::deadline_in(timeout_));
  vm_.client().run_until([&] { return answer->reply || answer->failure || is_given_up(); });
  if (answer->failure) throw vm_.explain(*answer->failure);
  if (!answer->reply) {
    throw Error({.status = ExitStatus::kFailed,
                 .operation = "wait for the reply",
                 .object = {},
                 .cause = "interrupted; QEMU may still run the command",
                 .mend = {}});
  }
  if (has_id) (*answer->reply)["id"] = id;
  return std::move(*answer->reply);
}

QmpExchange::News QmpExchange::await(const std::function<bool()>& is_interrupted) {
  if (!is_input_ready_ && !is_input_awaited_) {
    is_input_awaited_ = true;
    // A regular file can't be waited for: that is an error here, and it is always ready.
    input_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                      [this](const boost::system::error_code&) {
                        is_input_awaited_ = false;
                        is_input_ready_ = true;
                      });
  }
  vm_.client().run_until([&] { return is_input_ready_ || is_closed_ || is_interrupted(); });
  if (is_interrupted()) return News::kInterrupted;
  if (is_input_ready_) return News::kInput;
  // The end of the connection may have been seen first where both were there.
  pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
  return ::poll(&input, 1, 0) > 0 ? News::kInput : News::kClosed;
}

}  // namespace vmrig
