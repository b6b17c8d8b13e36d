// vmrig stop: end one VM or all of them.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <exception>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "launcher/cli/output.hpp"
#include "launcher/cli/progress_line.hpp"
#include "launcher/commands/commands.hpp"
#include "launcher/commands/environment.hpp"
#include "launcher/commands/seconds.hpp"
#include "launcher/commands/vm_connection.hpp"
#include "launcher/host_work.hpp"
#include "launcher/process.hpp"
#include "launcher/stop_ladder.hpp"
#include "launcher/stop_requests.hpp"

namespace vmrig {
namespace {

struct StopCommandOptions {
  std::optional<std::string> name;
  std::optional<double> timeout_s;
  bool all = false;
  bool force = false;
  bool json = false;
};

struct Stopped {
  std::string name;
  std::string by;  // "powerdown", "quit", "kill", or "signal" for one that was being
                   // started, "no restart" for one that waited for that, "removed" for one that had
                   // ended before
  double seconds = 0;
};

constexpr double kDefaultPowerdownS = 60;

double powerdown_seconds(const StopCommandOptions& options, const VmEntry& entry) {
  if (options.force) return 0;
  constexpr double kLongestS = 86400;  // what a supervisor takes
  if (options.timeout_s) return std::min(*options.timeout_s, kLongestS);
  return entry.state ? entry.state->stop_timeout_s : kDefaultPowerdownS;
}

std::string stop_by_supervisor(const StopCommandOptions& options, const Context& context,
                               const VmEntry& entry) {
  // quit and kill take their time after the powerdown, and drivers theirs; only then is the
  // supervisor hung.
  constexpr std::chrono::seconds kForHost{60};
  const bool gives_back = entry.state && !entry.state->host_changes.empty();
  const std::chrono::seconds after_powerdown =
      std::chrono::seconds(15) + (gives_back ? kForHost : std::chrono::seconds(0));
  const double powerdown_s = powerdown_seconds(options, entry);
  Json arguments = {{"force", options.force}};
  if (!options.force) arguments["timeout"] = powerdown_s;
  VmConnection vm = VmConnection::open(context, entry.name);
  const Json reply = vm.execute("vmrig-stop", std::move(arguments),
                                qmp::deadline_in(to_milliseconds(powerdown_s) + after_powerdown));
  return reply.is_object() ? reply.value("by", std::string("unknown")) : "unknown";
}

// A VM that is just being started serves nobody yet; its supervisor takes a signal.
std::string stop_while_starting(const VmEntry& entry) {
  constexpr std::chrono::seconds kTimeout{15};
  const Fd supervisor = open_pidfd(entry.state->supervisor);
  if (supervisor) send_signal(supervisor.get(), SIGTERM);
  if (!supervisor || wait_for_exit(supervisor.get(), qmp::deadline_in(kTimeout))) return "signal";
  throw Error({.status = ExitStatus::kTimeUp,
               .operation = "stop VM",
               .object = entry.name,
               .cause = fmt::format("its supervisor (pid {}) is starting it and does not end",
                                    entry.state->supervisor.pid),
               .mend = fmt::format("kill -KILL {}", entry.state->supervisor.pid)});
}

std::string stop_without_supervisor(const StopCommandOptions& options, const StateRoot& root,
                                    const VmEntry& entry) {
  StopOptions stop;
  stop.first = options.force ? StopOptions::First::kQuit : StopOptions::First::kPowerdown;
  stop.powerdown_timeout = to_milliseconds(powerdown_seconds(options, entry));
  return std::string(stop_by_name(stop_orphan(root, entry.name, stop)));
}

// What is kept of a VM that ended badly is for `logs`; `stop` says that it has been seen.
std::string remove_remains(const StateRoot& root, const std::string& name) {
  const StateRoot::Lock lock = root.lock();
  const VmEntry entry = find_vm(root, name);  // again: it may have been started meanwhile
  if (entry.living()) {
    throw Error({.status = ExitStatus::kBusy,
                 .operation = "stop VM",
                 .object = name,
                 .cause = "it has just been started again",
                 .mend = fmt::format("vmrig stop {}", name)});
  }
  VmFolder folder = root.folder(name);
  LinuxHost host;
  if (const std::string fault = unfinished(undo_host_steps(host, folder, lock)); !fault.empty()) {
    throw Error({.operation = "put back what VM held of the host",
                 .object = name,
                 .cause = fault,
                 .mend = "vmrig recover"});
  }
  folder.remove();
  return "removed";
}

Stopped stop_one(const StopCommandOptions& options, const Context& context, const StateRoot& root,
                 const std::string& name) {
  const auto begin = std::chrono::steady_clock::now();
  const VmEntry entry = find_vm(root, name);
  Stopped stopped{.name = entry.name, .by = {}};
  if (entry.supervisor_alive && entry.state && entry.condition == VmCondition::kStarting) {
    stopped.by = stop_while_starting(entry);
  } else if (entry.supervisor_alive) {
    stopped.by = stop_by_supervisor(options, context, entry);
  } else if (entry.qemu_alive) {
    stopped.by = stop_without_supervisor(options, root, entry);
  } else {
    stopped.by = remove_remains(root, name);
  }
  stopped.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return stopped;
}

void print(const std::vector<Stopped>& all, const StopCommandOptions& options) {
  if (options.json) {
    Json list = Json::array();
    for (const Stopped& stopped : all) {
      list.push_back({{"name", stopped.name}, {"by", stopped.by}, {"seconds", stopped.seconds}});
    }
    write_json(options.all ? list : list.at(0));
    return;
  }
  std::string text;
  for (const Stopped& stopped : all) {
    if (stopped.by == "removed") {
      text += fmt::format("{} had ended; removed what was kept of it\n", quote(stopped.name));
    } else if (stopped.by == kByNoRestart) {
      text += fmt::format("{} had ended; it is not started anew\n", quote(stopped.name));
    } else {
      text += fmt::format("stopped {} by {} in {:.2f} s\n", quote(stopped.name),
                          printable(stopped.by), stopped.seconds);
    }
  }
  write_out(text);
}

// At host shutdown each guest needs its own time to power off, so all are asked at once.
ExitStatus stop_all(const StopCommandOptions& options, const Context& context) {
  const std::optional<StateRoot> root = StateRoot::open_existing(state_folder(context));
  if (!root) {
    print({}, options);
    return ExitStatus::kDone;
  }
  struct Job {
    std::string name;
    std::optional<Stopped> stopped;
    std::exception_ptr fault;
  };
  std::vector<Job> jobs;
  for (const VmEntry& entry : root->list()) jobs.push_back({entry.name, std::nullopt, nullptr});
  {
    const ProgressLine progress(fmt::format("stopping {} VMs", jobs.size()));
    std::vector<std::jthread> threads;
    threads.reserve(jobs.size());
    for (Job& job : jobs) {
      threads.emplace_back([&job, &options, &context, &root] {
        try {
          job.stopped = stop_one(options, context, *root, job.name);
        } catch (...) {
          job.fault = std::current_exception();
        }
      });
    }
  }
  std::vector<Stopped> done;
  for (Job& job : jobs) {
    if (job.stopped) done.push_back(std::move(*job.stopped));
  }
  print(done, options);
  ExitStatus status = ExitStatus::kDone;
  for (const Job& job : jobs) {
    if (!job.fault) continue;
    try {
      std::rethrow_exception(job.fault);
    } catch (const std::exception& fault) {
      const ExitStatus own =
          report_fault(fault, options.json ? ErrorForm::kJson : ErrorForm::kText);
      if (status == ExitStatus::kDone) status = own;
    }
  }
  return status;
}

ExitStatus stop(const StopCommandOptions& options, const Context& context) {
  if (options.all == options.name.has_value()) {
    throw Error({.status = ExitStatus::kUsage,
                 .operation = options.all ? "stop takes a NAME or --all, not both"
                                          : "stop needs a NAME or --all",
                 .object = {},
                 .cause = {},
                 .mend = "vmrig stop --help"});
  }
  if (options.all) return stop_all(options, context);
  const StateRoot root = open_root_for(context, *options.name);
  const VmEntry entry = find_vm(root, *options.name);
  ProgressLine progress(fmt::format("stopping {}", quote(entry.name)),
                        to_milliseconds(powerdown_seconds(options, entry)));
  const Stopped stopped = stop_one(options, context, root, *options.name);
  progress.end();
  print({stopped}, options);
  return ExitStatus::kDone;
}

}  // namespace

RunCommand define_stop(CommandLine& line) {
  auto options = std::make_shared<StopCommandOptions>();
  line.positional("NAME", "The VM", options->name);
  line.flag("--all", "All VMs, at once", options->all);
  line.flag("--force", "Don't ask the guest: end QEMU now", options->force);
  line.seconds("--timeout", "How long the guest may take to power off (power.stop_timeout_s)",
               options->timeout_s);
  line.flag("--json", "Tell what worked, as JSON", options->json);
  return [options](const Context& context) { return stop(*options, context); };
}

}  // namespace vmrig
