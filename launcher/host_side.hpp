// A supervisor's work on the host, done on a thread beside its event loop.
#pragma once

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <functional>
#include <string>
#include <vector>

#include "devices/description.hpp"
#include "hostcfg/base/bytes.hpp"
#include "hostcfg/base/fd.hpp"
#include "hostcfg/memory_region.hpp"
#include "hostcfg/populate.hpp"
#include "launcher/plan.hpp"
#include "launcher/state_dir.hpp"
#include "launcher/turn.hpp"

namespace vmrig {

class HostSide {
 public:
  // `log` is told of every change; `on_idle` is called after each piece of work, when the thread
  // has waited for the children that it started (modprobe).
  HostSide(const boost::asio::any_io_executor& executor,
           std::function<void(const std::string& line)> log, std::function<void()> on_idle)
      : turn_(executor), log_(std::move(log)), on_idle_(std::move(on_idle)) {}

  // Applies the plan's host steps. Throws vmrig::Error; what was done then is in the journal.
  boost::asio::awaitable<void> prepare(const Plan& plan, const VmFolder& folder);
  // No step of prepare() begins after this, and populate() ends; from any thread.
  void cancel() {
    is_cancelled_ = true;
    populating_.is_cancelled = true;
  }

  // populate() of each region, one after the other. `tell` is called a few times a second, and may
  // be empty. `regions` has to outlive it. Throws vmrig::Error; no page is kept then.
  using TellPages = std::function<void(Bytes got, Bytes wanted)>;
  boost::asio::awaitable<std::vector<MemoryFile>> populate(const std::vector<MemoryRegion>& regions,
                                                           TellPages tell);

  // open_child_fds() of a running VM: a passt takes its time to start. `folder`, `sources` and
  // `helpers` have to outlive it.
  boost::asio::awaitable<std::vector<Fd>> open_fds(const VmFolder& folder,
                                                   const std::vector<FdSource>& sources,
                                                   const std::vector<Helper>& helpers);

  // Undoes all that the journal holds; to be called when QEMU is gone and nothing holds the devices
  // any more. Returns what could not be put back, in words; it stays in the journal, and the folder
  // has to stay for it.
  boost::asio::awaitable<std::string> give_back(const VmFolder& folder);
  // The same for only these of its actions, whose device QEMU has let go.
  boost::asio::awaitable<std::string> give_back(const VmFolder& folder,
                                                std::function<bool(const HostAction&)> only);

  bool is_at_work() const { return is_at_work_; }

 private:
  boost::asio::awaitable<void> work(std::function<void()> task);

  Turn turn_;  // one journal, one writer
  std::function<void(const std::string& line)> log_;
  std::function<void()> on_idle_;
  std::atomic<bool> is_cancelled_ = false;
  PopulateWatch populating_;
  bool is_at_work_ = false;
};

}  // namespace vmrig
