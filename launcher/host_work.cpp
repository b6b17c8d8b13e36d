#include "launcher/host_work.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <exception>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <thread>
#include <utility>
#include <variant>

#include "hostcfg/journal.hpp"
#include "launcher/net_shares.hpp"
#include "launcher/process.hpp"
#include "launcher/vf_shares.hpp"

namespace vmrig {
namespace {

namespace asio = boost::asio;

// Blocks every signal for its life; threads that are made meanwhile inherit that.
class SignalBlock {
 public:
  SignalBlock() {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  SignalBlock(const SignalBlock&) = delete;
  SignalBlock& operator=(const SignalBlock&) = delete;
  ~SignalBlock() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_{};
};

Fd open_eventfd() {
  Fd eventfd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!eventfd) throw system_error("make", "an eventfd", errno);
  return eventfd;
}

void check_new_vfs(HostControl& host, const Plan& plan, const PciAddress& pf) {
  for (const PassedDevice& device : plan.passed) {
    if (!device.is_new || device.pf != pf) continue;
    const std::optional<PciAddress> actual = host.vf_address(pf, device.vf_index);
    if (actual == device.address) continue;
    throw Error({.status = ExitStatus::kHost,
                 .operation = "make VFs of",
                 .object = device.pf_name,
                 .cause = fmt::format("VF {} came at {}, {} was told", device.vf_index,
                                      actual ? actual->to_string() : "no address",
                                      device.address.to_string()),
                 .mend = fmt::format("vmrig sriov set {} --vfs N, and \"create\" left out",
                                     device.pf_name)});
  }
}

StateRoot::Lock lock_of(const VmFolder& folder) {
  return StateRoot::open(folder.root_path()).lock();
}

using ActionFilter = std::function<bool(const HostAction&)>;

bool has_share(const std::string& journal_path, const ActionFilter& wanted) {
  const std::optional<JournalContent> journal = read_journal(journal_path);
  if (!journal) return false;
  const std::vector<const JournalEntry*> open = journal->open();
  return std::any_of(open.begin(), open.end(), [&wanted](const JournalEntry* entry) {
    return is_shared(entry->action) && wanted(entry->action);
  });
}

// What VMs share last, under the lock: of two VMs that end at once, one has given up its share when
// the other looks. All else is the VM's own, and drivers may take long.
UndoReport undo_with(HostControl& host, const VmFolder& folder, const StateRoot::Lock* held,
                     const ActionFilter& wanted) {
  if (!has_journal(folder)) return {};
  const std::string journal_path = folder.path_of(kJournalName);
  const JournalOwner owner = this_owner();
  UndoRules own;
  own.only = [&wanted](const HostAction& action) { return !is_shared(action) && wanted(action); };
  UndoReport report = recover_journal(host, journal_path, owner, own);
  // A VF that did not come free keeps the others, too, and this VM's share, until the next try.
  if (!report.complete() || !has_share(journal_path, wanted)) return report;

  std::optional<StateRoot::Lock> taken;
  if (held == nullptr) taken.emplace(lock_of(folder));
  const StateRoot::Lock& lock = held == nullptr ? *taken : *held;
  UndoRules shared;
  shared.only = [&wanted](const HostAction& action) { return is_shared(action) && wanted(action); };
  shared.others_share = [&](const HostAction& action) {
    return do_others_share(action, folder, lock);
  };
  shared.others_use_vfs_of = [&](const PciAddress& pf) {
    return do_others_use_vfs_of(host, pf, folder, lock);
  };
  UndoReport counts = recover_journal(host, journal_path, owner, shared);
  std::move(counts.lines.begin(), counts.lines.end(), std::back_inserter(report.lines));
  return report;
}

}  // namespace

JournalOwner this_owner() {
  JournalOwner owner{.boot_id = read_boot_id(), .pid = ::getpid(), .start_time = 0};
  if (const auto self = identify_process(owner.pid)) owner.start_time = self->start_time;
  return owner;
}

bool has_journal(const VmFolder& folder) {
  return ::access(folder.path_of(kJournalName).c_str(), F_OK) == 0;
}

void apply_host_steps(HostControl& host, const Plan& plan, const VmFolder& folder,
                      const std::atomic<bool>& is_cancelled) {
  HostLease lease(host, folder.path_of(kJournalName), this_owner());
  const auto go_on = [&is_cancelled] {
    if (!is_cancelled) return;
    throw Error({.operation = "prepare the host",
                 .object = {},
                 .cause = "it was asked to stop",
                 .mend = {}});
  };
  for (const HostStep& step : plan.host_steps) {
    go_on();
    if (const auto* count = std::get_if<SetVfCount>(&step.action)) {
      make_shared_vfs(host, lease, *count, lock_of(folder));
      check_new_vfs(host, plan, count->pf);
    } else if (is_shared(step.action)) {
      // Another VM that makes the same at this moment is done with it when we look.
      const StateRoot::Lock lock = lock_of(folder);
      lease.apply(step.action);
    } else {
      lease.apply(step.action);
    }
  }
  go_on();
}

UndoReport undo_host_steps(HostControl& host, const VmFolder& folder) {
  return undo_with(host, folder, nullptr, [](const HostAction&) { return true; });
}

UndoReport undo_host_steps(HostControl& host, const VmFolder& folder, const StateRoot::Lock& lock) {
  return undo_with(host, folder, &lock, [](const HostAction&) { return true; });
}

UndoReport undo_host_steps(HostControl& host, const VmFolder& folder,
                           const std::function<bool(const HostAction&)>& only) {
  return undo_with(host, folder, nullptr, only);
}

std::vector<std::string> report_lines(const UndoReport& report) {
  std::vector<std::string> lines;
  for (const UndoLine& line : report.lines) {
    if (line.result != UndoLine::Result::kAsBefore) lines.push_back(line.text);
  }
  lines.insert(lines.end(), report.problems.begin(), report.problems.end());
  return lines;
}

std::string unfinished(const UndoReport& report) {
  std::string text;
  for (const UndoLine& line : report.lines) {
    if (line.result == UndoLine::Result::kFailed) text += (text.empty() ? "" : "; ") + line.text;
  }
  return text;
}

asio::awaitable<void> run_aside(std::function<void()> work) {
  const asio::any_io_executor executor = co_await asio::this_coro::executor;
  // By a post() the event loop would wake to find its own lock still held by the thread.
  Fd signal = open_eventfd();
  asio::posix::stream_descriptor done(executor, signal.get());
  (void)signal.release();  // the descriptor owns it
  std::atomic<bool> is_done = false;
  std::exception_ptr fault;
  std::optional<std::jthread> thread;
  {
    const SignalBlock block;
    thread.emplace([&, eventfd = done.native_handle()] {
      try {
        work();
      } catch (...) {
        fault = std::current_exception();
      }
      is_done = true;
      (void)::eventfd_write(eventfd, 1);
    });
  }
  boost::system::error_code error;
  do {
    auto token = asio::redirect_error(asio::use_awaitable, error);
    co_await done.async_wait(asio::posix::stream_descriptor::wait_read, token);
  } while (error || !is_done);
  // Joined a turn later, when it has ended: its end takes as long as its start. Who forks before
  // that forks one thread more.
  asio::post(executor, [thread = std::move(*thread)] {});
  if (fault) std::rethrow_exception(fault);
}

std::vector<RecoveredVm> recover_dead_vms(StateRoot& root, const StateRoot::Lock& lock,
                                          HostControl& host,
                                          const std::optional<std::string>& only) {
  std::map<std::string, RecoveredVm> recovered;
  const auto record_of = [&recovered](const std::string& name) -> RecoveredVm& {
    return recovered.try_emplace(name, RecoveredVm{.name = name, .report = {}, .problems = {}})
        .first->second;
  };
  std::set<std::string> undone;
  for (const VmEntry& entry : root.list()) {
    if (entry.living() || (only && entry.name != *only)) continue;
    RecoveredVm& vm = record_of(entry.name);
    try {
      vm.report = undo_host_steps(host, root.folder(entry.name), lock);
      // Its journal may be on a disk that can't be written any more; nothing is owed all the same.
      if (vm.report.complete()) undone.insert(entry.name);
    } catch (const Error& error) {
      vm.problems.emplace_back(error.what());
    }
  }
  const StateRoot::Cleaned cleaned = root.clean(lock, undone);
  for (const std::string& name : cleaned.removed) record_of(name).removed = true;
  for (const auto& [name, why] : cleaned.not_removed) record_of(name).problems.push_back(why);
  std::vector<RecoveredVm> told;
  for (auto& [name, vm] : recovered) {
    const bool is_news = vm.removed || !vm.problems.empty() || !vm.report.lines.empty() ||
                         !vm.report.problems.empty();
    if (is_news) told.push_back(std::move(vm));
  }
  return told;
}

}  // namespace vmrig
