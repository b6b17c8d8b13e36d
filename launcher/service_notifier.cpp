#include "launcher/service_notifier.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include "launcher/text.hpp"

namespace vmrig {
namespace {

using Delivery = NotifySocket::Delivery;

// One line, whatever a guest has put into it.
std::string status_line(const std::string& status) { return "STATUS=" + printable(status); }

std::string patience_line(std::chrono::seconds patience) {
  return fmt::format("EXTEND_TIMEOUT_USEC={}", std::chrono::microseconds(patience).count());
}

}  // namespace

ServiceNotifier::ServiceNotifier(const boost::asio::any_io_executor& executor,
                                 const ServiceSettings& settings, RunMode mode)
    : socket_(settings.notify_socket), settings_(settings), mode_(mode), timer_(executor) {}

void ServiceNotifier::ready(const std::string& status) {
  if (!socket_.is_there()) return;
  std::string state = "READY=1\n" + status_line(status);
  // The process that the manager has started ends now; this one is the service.
  if (mode_ == RunMode::kDetached) state += fmt::format("\nMAINPID={}", ::getpid());
  socket_.tell(state, Delivery::kSurely);
  if (settings_.watchdog) give_sign_of_life();
}

void ServiceNotifier::status(const std::string& status) {
  if (!socket_.is_there()) return;
  socket_.tell(status_line(status), Delivery::kNow);
}

void ServiceNotifier::busy(const std::string& status, std::chrono::seconds patience) {
  if (!socket_.is_there()) return;
  socket_.tell(status_line(status) + "\n" + patience_line(patience), Delivery::kNow);
}

void ServiceNotifier::stopping(const std::string& status, std::chrono::seconds patience) {
  if (!socket_.is_there()) return;
  socket_.tell("STOPPING=1\n" + status_line(status) + "\n" + patience_line(patience),
               Delivery::kSurely);
}

void ServiceNotifier::give_sign_of_life() {
  socket_.tell("WATCHDOG=1", Delivery::kNow);
  // Half of the time, as sd_watchdog_enabled(3) has it.
  timer_.expires_after(*settings_.watchdog / 2);
  timer_.async_wait([this](const boost::system::error_code& fault) {
    if (!fault) give_sign_of_life();
  });
}

}  // namespace vmrig
