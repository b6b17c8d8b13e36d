// vmrig metrics: VMs' numbers as Prometheus reads them.
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "hostcfg/public_file.hpp"
#include "launcher/cli/output.hpp"
#include "launcher/cli/signal_input.hpp"
#include "launcher/commands/commands.hpp"
#include "launcher/commands/environment.hpp"
#include "launcher/commands/seconds.hpp"
#include "launcher/commands/vm_connection.hpp"
#include "launcher/metrics/collect.hpp"
#include "launcher/metrics/vm_metrics.hpp"
#include "launcher/wall_clock.hpp"

namespace vmrig {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kDefaultTimeoutS = 2;

struct MetricsOptions {
  std::optional<std::string> name;
  std::optional<std::string> textfile;
  std::optional<double> interval_s;
  std::optional<double> timeout_s;
  bool all = false;
  bool no_kvm = false;
  bool json = false;
};

[[noreturn]] void refuse(std::string operation, std::string mend) {
  throw Error({.status = ExitStatus::kUsage,
               .operation = std::move(operation),
               .object = {},
               .cause = {},
               .mend = std::move(mend)});
}

void refuse_what_cannot_be(const MetricsOptions& options) {
  if (options.all == options.name.has_value()) {
    refuse(
        options.all ? "metrics takes a NAME or --all, not both" : "metrics needs a NAME or --all",
        "vmrig metrics --help");
  }
  if (options.interval_s && !options.textfile) {
    refuse("--interval is for --textfile", "vmrig metrics --all --textfile DIR --interval 15");
  }
  if (options.interval_s && *options.interval_s <= 0) {
    refuse("--interval is a time above 0", "vmrig metrics --help");
  }
  if (options.textfile && options.json) {
    refuse("--textfile is read by Prometheus' node_exporter, which takes no JSON",
           "leave --textfile or --json out");
  }
}

CollectOptions collect_options(const MetricsOptions& options) {
  CollectOptions collecting;
  collecting.name = options.name;
  if (options.no_kvm) collecting.questions.kvm = KvmStats::kSkip;
  collecting.timeout = to_milliseconds(options.timeout_s.value_or(kDefaultTimeoutS));
  return collecting;
}

// Throws Error (kNoSuchVm) when the one VM that is asked for is not there.
MetricPage look(const MetricsOptions& options, const Context& context) {
  const auto begin = Clock::now();
  std::vector<VmReading> vms;
  if (options.name) {
    const StateRoot root = open_root_for(context, *options.name);
    (void)find_vm(root, *options.name);
    vms = collect(root, collect_options(options));
  } else if (const auto root = StateRoot::open_existing(state_folder(context))) {
    vms = collect(*root, collect_options(options));
  }
  HostReading host;
  if (const auto root = FolderReader::open("/")) host.steal_s = read_host_steal(*root);
  host.duration = Clock::now() - begin;
  return metrics_of(vms, host, seconds_since_epoch());
}

std::string textfile_path(const MetricsOptions& options) {
  return *options.textfile + (options.name ? "/vmrig-" + *options.name : "/vmrig") + ".prom";
}

// The file in its place for as long as it is kept up to date: numbers of yesterday would be taken
// for today's.
class Textfile {
 public:
  explicit Textfile(std::string path) : path_(std::move(path)) {}
  Textfile(const Textfile&) = delete;
  Textfile& operator=(const Textfile&) = delete;
  ~Textfile() { ::unlink(path_.c_str()); }

  // A full disk may have room the next time.
  void write(const std::string& content) {
    std::string fault;
    try {
      replace_public_file(path_, content);
    } catch (const Error& error) {
      fault = error.what();
    }
    if (!fault.empty() && fault != last_fault_) note(fault);
    last_fault_ = fault;
  }

 private:
  std::string path_;
  std::string last_fault_;
};

// False when a signal asks for the end.
bool wait_until(Clock::time_point then, const SignalInput& signals) {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(then - Clock::now());
    constexpr std::chrono::milliseconds::rep kMost = 3'600'000;
    const auto wait_ms = std::clamp<std::chrono::milliseconds::rep>(left.count(), 0, kMost);
    pollfd waiting{.fd = signals.fd(), .events = POLLIN, .revents = 0};
    const int ready = ::poll(&waiting, 1, static_cast<int>(wait_ms));
    if (ready < 0 && errno != EINTR) throw system_error("wait", {}, errno);
    if (ready > 0) {
      // Taken, so that it does not end the program once it is let through again.
      (void)signals.take();
      return false;
    }
    if (Clock::now() >= then) return true;
  }
}

ExitStatus keep_writing(const MetricsOptions& options, const Context& context) {
  const SignalInput signals{SIGTERM, SIGINT, SIGHUP};
  const std::string path = textfile_path(options);
  // What can't be written at all is told at once, before anybody relies on it.
  replace_public_file(path, look(options, context).text());
  Textfile file(path);
  auto next = Clock::now();
  const auto interval = to_milliseconds(*options.interval_s);
  for (;;) {
    // After a pause of the whole machine the missed ones are not made up for.
    next = std::max(next + interval, Clock::now());
    if (!wait_until(next, signals)) return ExitStatus::kDone;
    try {
      file.write(look(options, context).text());
    } catch (const Error& error) {
      if (error.status() != ExitStatus::kNoSuchVm) throw;
      note(fmt::format("VM {} has ended", quote(*options.name)));
      return ExitStatus::kDone;
    }
  }
}

ExitStatus metrics(const MetricsOptions& options, const Context& context) {
  refuse_what_cannot_be(options);
  if (options.interval_s) return keep_writing(options, context);
  const MetricPage page = [&] {
    const ProgressLine progress("waiting for a VM to answer",
                                to_milliseconds(options.timeout_s.value_or(kDefaultTimeoutS)));
    return look(options, context);
  }();
  if (options.textfile) {
    replace_public_file(textfile_path(options), page.text());
  } else if (options.json) {
    write_json(page.json());
  } else {
    write_out(page.text());
  }
  return ExitStatus::kDone;
}

}  // namespace

RunCommand define_metrics(CommandLine& line) {
  auto options = std::make_shared<MetricsOptions>();
  line.positional("NAME", "The VM", options->name);
  line.flag("--all", "All VMs", options->all);
  line.option("--textfile", "DIR",
              "Write vmrig.prom (vmrig-NAME.prom of one VM) there, for node_exporter's textfile "
              "collector",
              options->textfile);
  line.seconds("--interval",
               "Write it again and again, until a signal comes; the file goes with the command",
               options->interval_s);
  line.seconds("--timeout", "How long a VM may take to answer (2); then it is down: vmrig_up 0",
               options->timeout_s);
  line.flag("--no-kvm",
            "Leave KVM's statistics out: some QEMUs stop each vCPU for a moment to read them",
            options->no_kvm);
  line.flag("--json", "As JSON", options->json);
  return [options](const Context& context) { return metrics(*options, context); };
}

}  // namespace vmrig
