#include "launcher/host_side.hpp"

#include <fmt/format.h>

#include <exception>
#include <utility>

#include "launcher/child_fds.hpp"
#include "launcher/host_work.hpp"

namespace vmrig {

namespace asio = boost::asio;

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
