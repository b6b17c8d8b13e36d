#include "launcher/stop_requests.hpp"

#include <fmt/format.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <exception>
#include <nlohmann/json.hpp>
#include <utility>

#include "qmp/error.hpp"

namespace vmrig {

namespace asio = boost::asio;

namespace {

constexpr std::chrono::milliseconds kHurriedQuit{500};
constexpr double kMaxStopTimeoutS = 86400;

}  // namespace

StopRequests::StopRequests(StopParts parts)
    : parts_(std::move(parts)), over_(parts_.executor, asio::steady_timer::time_point::max()) {
  defaults_.powerdown_timeout = std::chrono::seconds(parts_.state.stop_timeout_s);
}

asio::awaitable<Json> StopRequests::stop(Json arguments) {
  StopOptions options = defaults_;
  for (const auto& [key, value] : arguments.items()) {
    if (key == "force" && value.is_boolean()) {
      if (value.get<bool>()) options.first = StopOptions::First::kQuit;
    } else if (key == "timeout" && value.is_number() && value.get<double>() >= 0 &&
               value.get<double>() <= kMaxStopTimeoutS) {
      options.powerdown_timeout =
          std::chrono::milliseconds(static_cast<std::int64_t>(value.get<double>() * 1000));
    } else {
      throw qmp::Error::refusal(
          "vmrig-stop takes \"force\" (a boolean) and \"timeout\" (seconds, up to a day)");
    }
  }
  count();
  co_await climb(std::move(options));
  if (!is_over_) {
    boost::system::error_code ignored;
    auto token = asio::redirect_error(asio::use_awaitable, ignored);
    co_await over_.async_wait(token);
  }
  co_return Json{{"by", rung_ ? stop_by_name(*rung_) : kByNoRestart}};
}

void StopRequests::climb_for_signal() {
  StopOptions options = defaults_;
  if (++signals_ > 1) {
    options.first = StopOptions::First::kQuit;
    options.quit_timeout = kHurriedQuit;
  }
  asio::co_spawn(parts_.executor, climb(std::move(options)), [this](std::exception_ptr fault) {
    if (!fault) return;
    try {
      std::rethrow_exception(fault);
    } catch (const std::exception& error) {
      parts_.log(error.what());
    }
  });
}

asio::awaitable<void> StopRequests::climb(StopOptions options) {
  if (parts_.state.state != RunState::kStopping) {
    parts_.state.state = RunState::kStopping;
    parts_.save();
  }
  options.on_rung = [this](StopBy rung) {
    if (rung_ && *rung_ >= rung) return;
    rung_ = rung;
    parts_.log(fmt::format("stopping by {}", stop_by_name(rung)));
  };
  Session& session = parts_.session();
  (void)co_await stop_qemu(session.monitor.get(), *session.exit, session.child.pidfd.get(),
                           std::move(options));
}

void StopRequests::over() {
  is_over_ = true;
  over_.cancel();
}

}  // namespace vmrig
