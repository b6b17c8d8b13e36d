#include "launcher/host_work.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <optional>
#include <thread>
#include <utility>
#include <variant>

#include "hostcfg/journal.hpp"
#include "launcher/process.hpp"

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

std::vector<VmEntry> other_living_vms(const VmFolder& folder) {
  std::vector<VmEntry> others;
  if (const auto root = StateRoot::open_existing(folder.root_path())) {
    for (VmEntry& entry : root->list()) {
      if (entry.name != folder.name() && entry.living()) others.push_back(std::move(entry));
    }
  }
  return others;
}

bool uses_vf_of(const VmEntry& entry, HostControl& host, const PciAddress& pf) {
  if (!entry.state) return true;  // not to be known: nothing is taken from it
  const std::vector<PciAddress>& held = entry.state->claim.pci;
  if (held.empty()) return false;
  const int count = host.vf_count(pf);
  for (int index = 0; index < count; ++index) {
    const std::optional<PciAddress> vf = host.vf_address(pf, index);
    if (vf && std::find(held.begin(), held.end(), *vf) != held.end()) return true;
  }
  return false;
}

// VFs that another VM has made stay until the last VM that uses one has ended.
void adopt_vfs(HostLease& lease, const PciAddress& pf, const VmFolder& folder) {
  const auto root = StateRoot::open_existing(folder.root_path());
  if (!root) return;
  for (const VmEntry& other : other_living_vms(folder)) {
    try {
      const auto journal = read_journal(root->folder(other.name).path_of(kJournalName));
      if (!journal) continue;
      for (const JournalEntry* entry : journal->open()) {
        const auto* made = std::get_if<SetVfCount>(&entry->action);
        if (made != nullptr && made->pf == pf) lease.adopt(entry->action, entry->old);
      }
    } catch (const Error&) {
      continue;  // it ended meanwhile; its own end decides about the VFs
    }
  }
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
  for (const PassedDevice& device : plan.passed) {
    if (device.pf && !device.is_new) adopt_vfs(lease, *device.pf, folder);
  }
  for (const HostStep& step : plan.host_steps) {
    go_on();
    if (const auto* count = std::get_if<SetVfCount>(&step.action)) {
      // Planned when there were none: another start may have made them since.
      adopt_vfs(lease, count->pf, folder);
      if (host.vf_count(count->pf) != count->count) lease.apply(step.action);
      check_new_vfs(host, plan, count->pf);
    } else {
      lease.apply(step.action);
    }
  }
  go_on();
}

UndoReport undo_host_steps(HostControl& host, const VmFolder& folder) {
  if (!has_journal(folder)) return {};
  UndoRules rules;
  rules.others_use_vfs_of = [&](const PciAddress& pf) {
    const std::vector<VmEntry> others = other_living_vms(folder);
    return std::any_of(others.begin(), others.end(),
                       [&](const VmEntry& entry) { return uses_vf_of(entry, host, pf); });
  };
  return recover_journal(host, folder.path_of(kJournalName), this_owner(), rules);
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
  asio::steady_timer done(executor, asio::steady_timer::time_point::max());
  bool is_done = false;
  std::exception_ptr fault;
  std::optional<std::jthread> thread;
  {
    const SignalBlock block;
    thread.emplace([&] {
      try {
        work();
      } catch (...) {
        fault = std::current_exception();
      }
      asio::post(executor, [&] {
        is_done = true;
        done.cancel();
      });
    });
  }
  while (!is_done) {
    boost::system::error_code ignored;
    auto token = asio::redirect_error(asio::use_awaitable, ignored);
    co_await done.async_wait(token);
  }
  thread.reset();  // joins: who comes next may fork
  if (fault) std::rethrow_exception(fault);
}

std::vector<RecoveredVm> recover_dead_vms(StateRoot& root, const StateRoot::Lock& lock,
                                          HostControl& host) {
  std::vector<RecoveredVm> recovered;
  for (const VmEntry& entry : root.list()) {
    if (entry.living()) continue;
    RecoveredVm vm{.name = entry.name, .report = {}, .problems = {}};
    try {
      vm.report = undo_host_steps(host, root.folder(entry.name));
    } catch (const Error& error) {
      vm.problems.emplace_back(error.what());
    }
    recovered.push_back(std::move(vm));
  }
  const std::vector<std::string> removed = root.clean(lock);
  for (const std::string& name : removed) {
    const auto found = std::find_if(recovered.begin(), recovered.end(),
                                    [&](const RecoveredVm& vm) { return vm.name == name; });
    if (found != recovered.end()) {
      found->removed = true;
    } else {
      recovered.push_back({.name = name, .report = {}, .problems = {}, .removed = true});
    }
  }
  std::erase_if(recovered, [](const RecoveredVm& vm) {
    return !vm.removed && vm.problems.empty() && vm.report.lines.empty() &&
           vm.report.problems.empty();
  });
  return recovered;
}

}  // namespace vmrig
