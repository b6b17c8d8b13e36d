#include "launcher/host_side.hpp"

#include <fmt/format.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <exception>
#include <memory>
#include <utility>

#include "launcher/child_fds.hpp"
#include "launcher/host_work.hpp"

namespace vmrig {

namespace asio = boost::asio;

namespace {

constexpr std::chrono::milliseconds kTick{200};

// Calls something now and then until it is stopped.
class Ticker : public std::enable_shared_from_this<Ticker> {
 public:
  Ticker(const asio::any_io_executor& executor, std::function<void()> call)
      : timer_(executor), call_(std::move(call)) {}

  void run() {
    timer_.expires_after(kTick);
    timer_.async_wait([self = shared_from_this()](const boost::system::error_code& fault) {
      // What was due when it was stopped comes all the same.
      if (fault || !self->call_) return;
      self->call_();
      self->run();
    });
  }

  void stop() {
    call_ = nullptr;
    timer_.cancel();
  }

 private:
  asio::steady_timer timer_;
  std::function<void()> call_;
};

}  // namespace

asio::awaitable<void> HostSide::work(std::function<void()> task) {
  const Turn::Holder turn = co_await turn_.take();
  is_at_work_ = true;
  std::exception_ptr fault;
  try {
    co_await run_aside(std::move(task));
  } catch (...) {
    fault = std::current_exception();
  }
  is_at_work_ = false;
  on_idle_();
  if (fault) std::rethrow_exception(fault);
}

asio::awaitable<void> HostSide::prepare(const Plan& plan, const VmFolder& folder) {
  if (plan.host_steps.empty() && plan.passed.empty()) co_return;
  std::function<void()> task = [this, &plan, &folder] {
    LinuxHost host;
    apply_host_steps(host, plan, folder, is_cancelled_);
  };
  co_await work(std::move(task));
  for (const HostStep& step : plan.host_steps) {
    log_(fmt::format("{} {}", action_kind(step.action), step.text));
  }
}

asio::awaitable<std::vector<MemoryFile>> HostSide::populate(
    const std::vector<MemoryRegion>& regions, TellPages tell) {
  std::vector<MemoryFile> files;
  if (regions.empty()) co_return files;
  Bytes wanted;
  for (const MemoryRegion& region : regions) wanted = wanted + region.size;
  const std::uint64_t before = populating_.bytes;
  const auto begin = std::chrono::steady_clock::now();
  const asio::any_io_executor executor = co_await asio::this_coro::executor;
  const auto ticker = std::make_shared<Ticker>(executor, [this, before, wanted, tell] {
    if (tell) tell(Bytes{populating_.bytes - before}, wanted);
  });
  ticker->run();
  std::exception_ptr fault;
  std::function<void()> task = [this, &regions, &files] {
    for (const MemoryRegion& region : regions) {
      files.push_back(vmrig::populate(region, populating_));
    }
  };
  try {
    co_await run_aside(std::move(task));
  } catch (...) {
    fault = std::current_exception();
  }
  ticker->stop();
  if (fault) std::rethrow_exception(fault);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  log_(fmt::format("populated {} in {:.3f} s", to_string(wanted), took.count()));
  co_return files;
}

asio::awaitable<std::vector<Fd>> HostSide::open_fds(const VmFolder& folder,
                                                    const std::vector<FdSource>& sources,
                                                    const std::vector<Helper>& helpers) {
  std::vector<Fd> fds;
  std::function<void()> task = [&] { fds = open_child_fds(folder, sources, helpers); };
  co_await work(std::move(task));
  co_return fds;
}

asio::awaitable<std::string> HostSide::give_back(const VmFolder& folder) {
  std::function<bool(const HostAction&)> everything;
  std::string fault = co_await give_back(folder, std::move(everything));
  co_return fault;
}

asio::awaitable<std::string> HostSide::give_back(const VmFolder& folder,
                                                 std::function<bool(const HostAction&)> only) {
  if (!has_journal(folder)) co_return std::string();
  UndoReport report;
  std::string fault;
  std::function<void()> task = [&report, &folder, &only] {
    LinuxHost host;
    report = only ? undo_host_steps(host, folder, only) : undo_host_steps(host, folder);
  };
  try {
    co_await work(std::move(task));
    fault = unfinished(report);
  } catch (const Error& error) {
    fault = error.what();
  }
  for (const std::string& line : report_lines(report)) log_(line);
  if (!fault.empty()) log_("not put back: " + fault);
  co_return fault;
}

}  // namespace vmrig
