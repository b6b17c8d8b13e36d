#include "launcher/session.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <exception>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "devices/balloon.hpp"
#include "hostcfg/base/error.hpp"
#include "hostcfg/checkpoint.hpp"
#include "hostcfg/set_scheduler.hpp"
#include "hostcfg/thread_affinity.hpp"
#include "launcher/child_fds.hpp"
#include "launcher/qemu_failure.hpp"
#include "launcher/scheduling.hpp"
#include "launcher/vhost_threads.hpp"
#include "launcher/vhost_user.hpp"
#include "qmp/error.hpp"

namespace vmrig {
namespace {

namespace asio = boost::asio;

constexpr std::size_t kMaxWordsBytes = 16384;
// How long a QEMU that has closed its monitor may take to be gone.
constexpr std::chrono::seconds kEndTimeout{2};

// QEMU, killed and reaped when the launch fails at any point.
class Fledgling {
 public:
  explicit Fledgling(Child child) : child_(std::move(child)) {}
  Fledgling(const Fledgling&) = delete;
  Fledgling& operator=(const Fledgling&) = delete;
  ~Fledgling() {
    if (!child_.pidfd) return;
    try {
      (void)end();
    } catch (const Error&) {
      // It stays: not to be killed by this user any more, or stuck in the kernel.
    }
  }

  const Child& get() const { return child_; }
  Child release() { return std::move(child_); }

  // Kills it unless it has ended, and reaps it.
  ExitReport end() {
    const Child child = std::move(child_);
    std::optional<ExitReport> report = reap(child.pidfd.get());
    if (report) return *report;
    send_signal(child.pidfd.get(), SIGKILL);
    (void)wait_for_exit(child.pidfd.get(), qmp::deadline_in(std::chrono::seconds(10)));
    report = reap(child.pidfd.get());
    return report.value_or(ExitReport{.signal_number = SIGKILL});
  }

 private:
  Child child_;
};

std::uint64_t size_of(int fd) {
  struct stat status {};
  return ::fstat(fd, &status) == 0 ? static_cast<std::uint64_t>(status.st_size) : 0;
}

Privileges privileges_of(const QemuUser& user) {
  Privileges privileges;
  if (user.kind != QemuUser::Kind::kCaller) {
    const Account& account = user.account;
    privileges.ids = Privileges::Ids{.uid = account.uid,
                                     .gid = account.gid,
                                     .groups = {account.groups.begin(), account.groups.end()}};
  }
  privileges.keeps_ipc_lock = user.keeps_ipc_lock;
  if (user.max_tasks) privileges.max_tasks = static_cast<rlim_t>(*user.max_tasks);
  return privileges;
}

SpawnRequest spawn_request(const Plan& plan, const std::vector<Fd>& fds, int log, int record,
                           const LaunchOptions& options) {
  SpawnRequest request;
  request.argv = plan.argv();
  for (std::size_t index = 0; index < plan.fds.size(); ++index) {
    request.fds.push_back({.number = plan.fds[index].number, .source = fds[index].get()});
  }
  request.output = log;
  request.error_output = log;
  request.parent_death = options.parent_death;
  request.record = record;
  request.cpus = plan.placement.emulator;
  request.cgroup = plan.cgroup;
  request.group = SpawnRequest::Group::kOwnSession;
  request.privileges = privileges_of(plan.user);
  if (plan.locked_memory == LockedMemory::kUnlimited) {
    request.memory_lock = SpawnRequest::MemoryLock::kUnlimited;
  }
  return request;
}

bool pins_anything(const ThreadPlacement& placement) {
  if (!placement.emulator.empty() || !placement.iothreads.empty()) return true;
  for (const CpuSet& cpus : placement.vcpus) {
    if (!cpus.empty()) return true;
  }
  return false;
}

std::vector<VmThread> threads_of(const Plan& plan, pid_t emulator, const Json& vcpus,
                                 const Json& iothreads) {
  const ThreadPlacement& placement = plan.placement;
  std::vector<VmThread> threads;
  threads.push_back({.role = "emulator", .id = {}, .tid = emulator, .cpus = placement.emulator});
  for (const Json& vcpu : vcpus) {
    const auto index = vcpu.at("cpu-index").get<std::size_t>();
    VmThread thread{.role = "vcpu", .id = std::to_string(index), .tid = -1, .cpus = {}};
    thread.tid = vcpu.at("thread-id").get<pid_t>();
    if (index < placement.vcpus.size()) thread.cpus = placement.vcpus[index];
    thread.scheduler = plan.config.cpu.scheduler;
    threads.push_back(std::move(thread));
  }
  for (const Json& iothread : iothreads) {
    VmThread thread{
        .role = "iothread", .id = iothread.at("id").get<std::string>(), .tid = -1, .cpus = {}};
    thread.tid = iothread.at("thread-id").get<pid_t>();
    const auto found = placement.iothreads.find(thread.id);
    if (found != placement.iothreads.end()) thread.cpus = found->second;
    for (const IothreadConfig& wanted : plan.config.iothreads) {
      if (wanted.id == thread.id) thread.scheduler = wanted.scheduler;
    }
    threads.push_back(std::move(thread));
  }
  // They are there since QEMU made its netdevs.
  const bool has_vhost = std::any_of(plan.host_ends.begin(), plan.host_ends.end(),
                                     [](const NicHostEnd& end) { return end.vhost; });
  if (!has_vhost) return threads;
  for (VmThread& worker : vhost_threads(emulator, placement.vhost)) {
    threads.push_back(std::move(worker));
  }
  return threads;
}

[[noreturn]] void fail_pinning(const VmThread& thread, const std::string& cause) {
  throw Error(
      {.status = ExitStatus::kHost,
       .operation = fmt::format("pin {}{}{}", thread.role, thread.id.empty() ? "" : " ", thread.id),
       .object = {},
       .cause = cause,
       .mend = {}});
}

void pin_threads(const std::vector<VmThread>& threads, const ThreadPlacement& placement,
                 const Topology& topology) {
  // QEMU's threads inherit the emulator's CPUs. Those that are not to be pinned go back to where
  // this process may run.
  const CpuSet anywhere = placement.emulator.empty() ? CpuSet() : thread_affinity(0);
  for (const VmThread& thread : threads) {
    try {
      if (thread.role == "emulator") {
        // Done before exec; only the kernel's word for it is needed.
        const CpuSet actual = thread_affinity(thread.tid);
        if (!thread.cpus.empty() && !(actual == thread.cpus)) {
          fail_pinning(thread, fmt::format("it is on CPUs {}, not on {}", actual.to_string(),
                                           thread.cpus.to_string()));
        }
      } else if (!thread.cpus.empty()) {
        pin_thread(topology, thread.tid, thread.cpus);
      } else if (!anywhere.empty()) {
        pin_thread(topology, thread.tid, anywhere);
      }
    } catch (const Error& error) {
      if (error.status() == ExitStatus::kHost) throw;
      fail_pinning(thread, error.what());
    }
  }
}

void schedule_threads(const std::vector<VmThread>& threads) {
  for (const VmThread& thread : threads) {
    if (!thread.scheduler.is_realtime()) continue;
    const bool is_vcpu = thread.role == "vcpu";
    set_scheduler(thread.tid, thread.scheduler,
                  fmt::format("{} {}", is_vcpu ? "vCPU" : thread.role, thread.id));
  }
}

const Json& value_of(const qmp::Outcome& outcome) {
  if (outcome.error) throw *outcome.error;
  return outcome.value;
}

// Without it the guest is never asked. Source: qemu docs, "Virtio balloon memory statistics".
qmp::Request balloon_statistics() {
  constexpr int kEverySeconds = 10;
  return {"qom-set", Json{{"path", fmt::format("/machine/peripheral/{}", kBalloonId)},
                          {"property", "guest-stats-polling-interval"},
                          {"value", kEverySeconds}}};
}

struct Launching {
  const LaunchRequest& request;
  const LaunchOptions& options;
  Fledgling& qemu;
  ExitWatch& exit;
  qmp::Deadline deadline;
};

// Capabilities, pinning, cont. Throws qmp::Error for all that QEMU does not do.
asio::awaitable<std::vector<VmThread>> bring_up(Launching step, qmp::Client& monitor) {
  const Plan& plan = step.request.plan;
  const bool pins = pins_anything(plan.placement);
  const bool sets_threads = pins || wants_realtime(plan.config);
  const bool continues = step.options.first == LaunchOptions::First::kContinue;
  // While QEMU initialises.
  std::optional<Topology> own_topology;
  if (pins && !step.request.topology) own_topology = Topology::of_this_host();

  (void)co_await monitor.handshake(step.deadline);

  std::vector<qmp::Request> questions;
  questions.push_back({.command = "query-cpus-fast"});
  questions.push_back({.command = "query-iothreads"});
  for (const std::string& id : plan.links_down) {
    questions.push_back({"set_link", Json{{"name", id}, {"up", false}}});
  }
  if (plan.config.balloon) questions.push_back(balloon_statistics());
  const std::size_t questions_end = questions.size();
  // Nothing has to happen before the guest runs: one round trip less.
  if (continues && !sets_threads) questions.push_back({.command = "cont"});
  const std::vector<qmp::Outcome> answers =
      co_await monitor.execute_all(std::move(questions), step.deadline);
  for (std::size_t i = 2; i < questions_end; ++i) (void)value_of(answers.at(i));
  std::vector<VmThread> threads;
  try {
    threads = threads_of(plan, step.qemu.get().identity.pid, value_of(answers.at(0)),
                         value_of(answers.at(1)));
  } catch (const Json::exception& fault) {
    throw qmp::Error(qmp::ErrorKind::protocol, fault.what());
  }
  if (!sets_threads) {
    if (continues) (void)value_of(answers.at(questions_end));
    co_return threads;
  }
  if (pins) {
    const Topology& topology = own_topology ? *own_topology : *step.request.topology;
    pin_threads(threads, plan.placement, topology);
  }
  schedule_threads(threads);
  if (continues) {
    qmp::ExecuteOptions options;
    options.deadline = step.deadline;
    qmp::Json none = qmp::Json::object();
    (void)co_await monitor.execute("cont", std::move(none), std::move(options));
  }
  co_return threads;
}

// What went wrong, by QEMU's own words where it has any; QEMU is gone and reaped after it.
asio::awaitable<Error> explain(Launching step, qmp::Error error, std::uint64_t log_start) {
  if (error.kind() == qmp::ErrorKind::closed || error.kind() == qmp::ErrorKind::protocol) {
    // A monitor that closes mostly means that QEMU ends; its own status says why.
    (void)co_await step.exit.wait(qmp::deadline_in(
        error.kind() == qmp::ErrorKind::closed ? kEndTimeout : std::chrono::seconds(0)));
  }
  const bool ended = step.exit.has_ended();
  const ExitReport report = step.qemu.end();
  const std::string& path = step.request.plan.qemu;
  const std::string words = step.request.folder.read_log(kQemuLogName, log_start, kMaxWordsBytes);
  if (ended) co_return qemu_failure(path, to_string(report), words);
  switch (error.kind()) {
    case qmp::ErrorKind::timeout:
      if (std::optional<Error> missing = missing_switch(step.request.plan.config)) {
        co_return std::move(*missing);
      }
      co_return qemu_failure(
          path, fmt::format("it did not answer within {} ms", step.options.timeout.count()), words);
    case qmp::ErrorKind::command:
      co_return qemu_failure(path, "it refused a command", error.what());
    case qmp::ErrorKind::closed:
      co_return qemu_failure(path, "it closed its monitor but did not end", words);
    default:
      co_return qemu_failure(path, fmt::format("it does not speak QMP: {}", error.what()), words);
  }
}

}  // namespace

qmp::ClientOptions monitor_options() {
  qmp::ClientOptions options;
  options.ids = qmp::IdUse::when_unordered;
  options.oob = qmp::OobUse::when_offered;
  return options;
}

std::vector<std::string> serial_sockets(const Plan& plan) {
  std::vector<std::string> names;
  for (const SerialConfig& serial : plan.config.serial) {
    if (serial.type == SerialType::kSocket) names.push_back(serial_socket_name(serial));
  }
  return names;
}

asio::awaitable<Session> launch(asio::io_context& context, const LaunchRequest& request,
                                LaunchOptions options) {
  const qmp::Deadline deadline = qmp::deadline_in(options.timeout);
  const VmFolder& folder = request.folder;
  std::vector<FdSource> sources;
  for (const ChildFd& fd : request.plan.fds) sources.push_back(fd.source);
  std::vector<Fd> fds = open_child_fds(folder, sources, request.plan.helpers, request.memory);
  Fd log = folder.open_log(kQemuLogName);
  const std::uint64_t log_start = size_of(log.get());

  Fd record = folder.open_qemu_record();

  checkpoint("before QEMU");
  Fledgling qemu(spawn(spawn_request(request.plan, fds, log.get(), record.get(), options)));
  checkpoint("after QEMU");
  // Only QEMU may hold them: its end has to refuse whoever waits in the sockets' backlogs, and to
  // give the devices free.
  fds.clear();
  log.reset();
  record.reset();

  Session session;
  session.exit = std::make_unique<ExitWatch>(context.get_executor(), qemu.get().pidfd.get());
  std::optional<qmp::Error> fault;
  try {
    // QEMU finds this connection in the backlog as soon as it serves: no polling.
    Fd connection = folder.connect(kMonitorSocketName, deadline);
    session.monitor = std::make_unique<qmp::Client>(context.get_executor(), connection.release(),
                                                    monitor_options());
    const std::vector<std::string> serials = serial_sockets(request.plan);
    if (!serials.empty()) session.console = folder.connect(serials.front(), deadline);
  } catch (const qmp::Error& error) {
    fault = error;
  }
  const Launching step{.request = request,
                       .options = options,
                       .qemu = qemu,
                       .exit = *session.exit,
                       .deadline = deadline};
  if (!fault) {
    qmp::Client* monitor = session.monitor.get();
    if (options.on_event) session.events = monitor->subscribe(options.on_event);
    // A wrapper script's other processes may keep the sockets open beyond its end.
    session.exit->on_exit([monitor] { monitor->close("QEMU ended"); });
    if (options.meanwhile) options.meanwhile(qemu.get());
    try {
      session.threads = co_await bring_up(step, *monitor);
    } catch (const qmp::Error& error) {
      fault = error;
    }
    session.exit->on_exit(nullptr);
  }
  if (fault) {
    const Error failure = co_await explain(step, std::move(*fault), log_start);
    throw failure;
  }
  session.child = qemu.release();
  co_return session;
}

}  // namespace vmrig
