// vmrig top: VMs' threads, measured again and again.
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "launcher/cli/full_screen.hpp"
#include "launcher/cli/output.hpp"
#include "launcher/cli/signal_input.hpp"
#include "launcher/commands/commands.hpp"
#include "launcher/commands/environment.hpp"
#include "launcher/commands/numbers.hpp"
#include "launcher/commands/seconds.hpp"
#include "launcher/commands/vm_connection.hpp"
#include "launcher/metrics/collect.hpp"
#include "launcher/metrics/show_activity.hpp"
#include "launcher/wall_clock.hpp"

namespace vmrig {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr double kDefaultIntervalS = 2;
constexpr double kLeastIntervalS = 0.1;
constexpr milliseconds kFirstInterval{500};  // a person wants to see something soon
constexpr milliseconds kPatience{1000};      // with a VM that does not answer

struct TopOptions {
  std::optional<std::string> name;
  std::optional<double> interval_s;
  std::optional<std::string> count;
  std::optional<std::string> sort;
  bool no_kvm = false;
  bool json = false;
};

struct TopSettings {
  std::optional<std::string> name;
  milliseconds interval{0};
  std::optional<std::size_t> count;
  ActivityOrder order = ActivityOrder::kRun;
  KvmStats kvm = KvmStats::kExitsOnly;
};

TopSettings settings_of(const TopOptions& options) {
  constexpr const char* kHelp = "vmrig top --help";
  TopSettings settings;
  settings.name = options.name;
  const double interval_s = options.interval_s.value_or(kDefaultIntervalS);
  if (interval_s < kLeastIntervalS) {
    throw Error({.status = ExitStatus::kUsage,
                 .operation = "read --interval",
                 .object = fmt::format("{}", interval_s),
                 .cause = fmt::format("it takes {} seconds or more", kLeastIntervalS),
                 .mend = kHelp});
  }
  settings.interval = to_milliseconds(interval_s);
  settings.count = number_of<std::size_t>(options.count, "--count", 1, kHelp);
  if (options.no_kvm) settings.kvm = KvmStats::kSkip;
  if (!options.sort) return settings;
  const auto order = activity_order_from(*options.sort);
  if (!order) {
    throw Error({.status = ExitStatus::kUsage,
                 .operation = "sort by",
                 .object = *options.sort,
                 .cause = "there is no such order",
                 .mend = "--sort cpu, wait, switches, exits or name"});
  }
  settings.order = *order;
  return settings;
}

// Two looks at the VMs, the second of which is the first of the next pair.
class Sampler {
 public:
  Sampler(const TopSettings& settings, const Context& context)
      : settings_(settings), folder_(state_folder(context)) {
    if (settings.name) (void)find_vm(open_root_for(context, *settings.name), *settings.name);
    after_ = look();
  }

  void sample() {
    before_ = std::exchange(after_, {});
    after_ = look();
  }
  // The VM that was asked for has gone.
  bool is_over() const { return settings_.name && after_.empty(); }
  std::vector<VmActivity> activity(ActivityOrder order) const {
    return activity_between(before_, after_, order);
  }
  double window_s() const { return std::chrono::duration<double>(taken_ - taken_before_).count(); }

 private:
  std::vector<VmReading> look() {
    taken_before_ = std::exchange(taken_, Clock::now());
    const auto root = StateRoot::open_existing(folder_);
    if (!root) return {};
    CollectOptions options;
    options.name = settings_.name;
    options.questions = {.kvm = settings_.kvm, .devices = false};
    options.walk = PageWalk::kSkip;
    options.timeout = std::min(settings_.interval, kPatience);
    return collect(*root, options);
  }

  const TopSettings settings_;
  const std::string folder_;
  std::vector<VmReading> before_;
  std::vector<VmReading> after_;
  Clock::time_point taken_before_ = Clock::now();
  Clock::time_point taken_ = taken_before_;
};

void print_json(const Sampler& sampler, ActivityOrder order) {
  Json vms = Json::array();
  for (const VmActivity& vm : sampler.activity(order)) vms.push_back(to_json(vm));
  const Json sample = {{"time", static_cast<double>(milliseconds_since_epoch()) / 1000},
                       {"window_s", sampler.window_s()},
                       {"vms", std::move(vms)}};
  // A line each, on a terminal too: a stream of objects.
  write_out(sample.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
}

void print_text(const Sampler& sampler, ActivityOrder order) {
  std::string text;
  for (const std::string& line :
       show_activity(sampler.activity(order), {.colour = stdout_colour()})) {
    text += line + "\n";
  }
  write_out(text);
}

enum class Woken { kTime, kKey, kSignal };

// The next of time, key and signal. A time is waited for in parts: poll() knows no long ones.
Woken wait(Clock::time_point then, const SignalInput& signals, bool keys) {
  for (;;) {
    const auto left = std::chrono::ceil<milliseconds>(then - Clock::now());
    constexpr milliseconds::rep kMost = 3'600'000;
    const auto wait_ms = std::clamp<milliseconds::rep>(left.count(), 0, kMost);
    std::array<pollfd, 2> fds = {
        pollfd{.fd = signals.fd(), .events = POLLIN, .revents = 0},
        pollfd{.fd = keys ? STDIN_FILENO : -1, .events = POLLIN, .revents = 0}};
    const int ready = ::poll(fds.data(), fds.size(), static_cast<int>(wait_ms));
    if (ready < 0 && errno != EINTR) throw system_error("wait", {}, errno);
    if (ready > 0 && fds[0].revents != 0) return Woken::kSignal;
    if (ready > 0) return Woken::kKey;
    if (Clock::now() >= then) return Woken::kTime;
  }
}

// What a person watches: the whole terminal, until a key or a signal ends it.
class Watch {
 public:
  Watch(const TopSettings& settings, const Context& context)
      : settings_(settings), order_(settings.order), sampler_(settings, context) {}

  // The signal that ended it; 0: something else.
  int run() {
    screen_.emplace();
    auto next = Clock::now() + std::min(settings_.interval, kFirstInterval);
    draw();
    for (std::size_t samples = 0; !is_over_;) {
      switch (wait(next, signals_, screen_->has_keys())) {
        case Woken::kTime:
          sampler_.sample();
          next = Clock::now() + settings_.interval;
          is_over_ = sampler_.is_over() || ++samples == settings_.count;
          break;
        case Woken::kKey:
          on_key();
          break;
        case Woken::kSignal:
          on_signal();
          break;
      }
      draw();
    }
    screen_.reset();
    return signal_;
  }

  bool has_vm_ended() const { return sampler_.is_over(); }
  const Sampler& sampler() const { return sampler_; }

 private:
  void draw() {
    const ScreenSize size = FullScreen::size();
    const std::vector<VmActivity> vms = sampler_.activity(order_);
    std::vector<std::string> lines =
        show_activity(vms, {.colour = stdout_colour(),
                            .columns = size.columns,
                            .rows = std::max(size.rows, size_t{2}) - 1});
    const std::string foot = "q quits; sort by c cpu, w wait, i switches, e exits, n name";
    if (vms.empty()) lines.emplace_back("no VM runs here");
    lines.resize(std::max(size.rows, std::size_t{2}) - 1);
    lines.push_back(styled(foot.substr(0, size.columns), Style::kDim, stdout_colour()));
    screen_->draw(lines);
  }

  void on_key() {
    std::array<char, 64> keys{};
    const ssize_t got = ::read(STDIN_FILENO, keys.data(), keys.size());
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (got <= 0) {  // the terminal has gone
      is_over_ = true;
      return;
    }
    constexpr char kControlC = 3;
    constexpr char kControlZ = 26;
    for (const char key : std::string(keys.data(), static_cast<std::size_t>(got))) {
      if (key == 'q' || key == 'Q' || key == kControlC) is_over_ = true;
      if (key == kControlZ) pause();
      if (key == 'c') order_ = ActivityOrder::kRun;
      if (key == 'w') order_ = ActivityOrder::kWait;
      if (key == 'i') order_ = ActivityOrder::kInvoluntary;
      if (key == 'e') order_ = ActivityOrder::kExits;
      if (key == 'n') order_ = ActivityOrder::kName;
    }
  }

  void on_signal() {
    const int number = signals_.take();
    if (number == SIGTSTP) return pause();
    if (number == 0 || number == SIGWINCH) return;  // drawn anew anyway
    signal_ = number;
    is_over_ = true;
  }

  // The shell gets its terminal back for the meantime.
  void pause() {
    screen_.reset();
    std::raise(SIGSTOP);
    screen_.emplace();
  }

  const TopSettings settings_;
  ActivityOrder order_;
  // In this order: a signal must not come while the terminal is not restored.
  const SignalInput signals_{SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGTSTP, SIGWINCH};
  Sampler sampler_;
  std::optional<FullScreen> screen_;
  int signal_ = 0;
  bool is_over_ = false;
};

ExitStatus watch(const TopSettings& settings, const Context& context) {
  int signal = 0;
  {
    Watch watching(settings, context);
    signal = watching.run();
    // The last of it stays to be read.
    if (!watching.has_vm_ended())
      print_text(watching.sampler(), settings.order);
    else
      note(fmt::format("VM {} has ended", quote(*settings.name)));
  }
  if (signal == 0) return ExitStatus::kDone;
  // Ends as the signal would have ended it, so that a shell sees what happened.
  std::signal(signal, SIG_DFL);
  std::raise(signal);
  return ExitStatus::kFailed;
}

// One sample unless more are asked for: a script's log is not to be filled.
ExitStatus print_samples(const TopSettings& settings, bool json, const Context& context) {
  Sampler sampler(settings, context);
  const std::size_t count = settings.count.value_or(1);
  auto next = Clock::now();
  for (std::size_t i = 0; i < count; ++i) {
    next = std::max(next + settings.interval, Clock::now());
    std::this_thread::sleep_until(next);
    sampler.sample();
    if (sampler.is_over()) {
      note(fmt::format("VM {} has ended", quote(*settings.name)));
      return ExitStatus::kDone;
    }
    if (json) {
      print_json(sampler, settings.order);
    } else {
      if (i > 0) write_out("\n");
      print_text(sampler, settings.order);
    }
  }
  return ExitStatus::kDone;
}

ExitStatus top(const TopOptions& options, const Context& context) {
  const TopSettings settings = settings_of(options);
  if (!options.json && stdout_is_terminal()) return watch(settings, context);
  return print_samples(settings, options.json, context);
}

}  // namespace

RunCommand define_top(CommandLine& line) {
  auto options = std::make_shared<TopOptions>();
  line.positional("NAME", "The VM; all of them when not given", options->name);
  line.seconds("--interval", "Time between samples (2)", options->interval_s);
  line.option("--count", "N", "Leave after so many samples; without a terminal, and with --json, 1",
              options->count);
  line.option("--sort", "ORDER", "cpu (default), wait, switches, exits or name", options->sort);
  line.flag("--no-kvm", "Don't ask for KVM's exits: some QEMUs stop each vCPU for a moment to tell",
            options->no_kvm);
  line.flag("--json", "An object a sample, on a line", options->json);
  return [options](const Context& context) { return top(*options, context); };
}

}  // namespace vmrig
