// One VM's supervisor, from the start of its QEMU (or the taking over of one that runs) to its end.
#pragma once

#include <sys/types.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "launcher/access_watch.hpp"
#include "launcher/adoption.hpp"
#include "launcher/capture.hpp"
#include "launcher/host_side.hpp"
#include "launcher/hotplug/hotplug.hpp"
#include "launcher/log_watch.hpp"
#include "launcher/power_plan.hpp"
#include "launcher/qemu_witness.hpp"
#include "launcher/restart_policy.hpp"
#include "launcher/service_notifier.hpp"
#include "launcher/session.hpp"
#include "launcher/signal_watch.hpp"
#include "launcher/stop_requests.hpp"
#include "launcher/supervisor.hpp"
#include "launcher/vm_log.hpp"
#include "launcher/vm_outcome.hpp"
#include "launcher/vm_service.hpp"
#include "launcher/vm_state.hpp"

namespace vmrig {

class VmSupervisor {
 public:
  VmSupervisor(LaunchRequest request, SuperviseOptions options);
  VmSupervisor(Adoption adoption, SuperviseOptions options);
  VmSupervisor(const VmSupervisor&) = delete;
  VmSupervisor& operator=(const VmSupervisor&) = delete;

  // As supervise().
  VmOutcome run();

 private:
  VmSupervisor(Fd log, VmState state, const PowerConfig& power, SuperviseOptions options);

  boost::asio::awaitable<void> live(std::optional<VmOutcome>& outcome);

  // vm_supervisor_start.cpp
  boost::asio::awaitable<void> start();
  boost::asio::awaitable<void> get_memory();
  boost::asio::awaitable<void> launch_qemu(LaunchOptions::First first,
                                           std::function<void()> meanwhile);
  void serve(Fd qmp_socket, std::optional<Fd> console_socket);
  void watch_log();
  boost::asio::awaitable<void> adopt();
  boost::asio::awaitable<std::optional<Error>> tell_of_start();
  boost::asio::awaitable<std::optional<Error>> wait_for_sign();
  boost::asio::awaitable<VmOutcome> give_up_start(Error fault);

  // vm_supervisor_end.cpp
  boost::asio::awaitable<VmOutcome> end_of_run();
  ExitReport exit_report() const;
  boost::asio::awaitable<void> end_hurriedly();
  boost::asio::awaitable<VmOutcome> finish(VmOutcome outcome);
  boost::asio::awaitable<void> tell_of_end();
  void keep_for_recovery(const std::string& fault);

  // vm_supervisor_restart.cpp
  boost::asio::awaitable<bool> waits_for_restart(VmOutcome& outcome);
  boost::asio::awaitable<std::string> start_anew();
  boost::asio::awaitable<void> start_by_recipe();

  // vm_supervisor.cpp
  VmFolder& folder() { return request_ ? request_->folder : *folder_; }
  void save();
  void stop_watching();
  void tell_manager();
  void on_event(const qmp::Event& event);
  void on_standstill(Standstill what, const std::string& reason);
  void set_run_state(RunState state, std::string reason);
  void await_stray_threads(std::size_t look);
  void on_child();
  void on_signal(int number);
  void on_stop_request();
  void log_fault(const std::exception_ptr& fault);
  void watch_monitor();
  boost::asio::awaitable<void> reconnect(std::string reason);

  // The context outlives everything that waits in it.
  boost::asio::io_context context_{1};
  std::optional<LaunchRequest> request_;  // until the guest runs
  SuperviseOptions options_;
  VmLog log_;
  std::optional<VmFolder> folder_;  // from then on
  VmState state_;
  PowerConfig power_;
  HostSide host_;
  AccessWatch access_watch_;
  Session session_;
  std::unique_ptr<qmp::Client> retired_monitor_;  // commands that it failed may still resume
  Hotplug hotplug_;
  Captures captures_;
  StopRequests stops_;
  VmService service_;
  ServiceNotifier manager_;
  RestartPolicy restarts_;
  std::optional<Replay> replay_;  // still to be done to a QEMU that is started anew
  std::optional<LogWatch> log_watch_;
  boost::asio::steady_timer monitor_closed_{context_};
  boost::asio::steady_timer strays_{context_};
  boost::asio::steady_timer restart_{context_};
  QemuWitness witness_;
  std::chrono::steady_clock::time_point runs_since_{};
  pid_t qemu_pid_ = -1;
  int qemu_pidfd_ = -1;  // borrowed
  bool is_adopted_ = false;
  bool is_launching_ = false;
  bool is_watching_ = true;  // over the access to sockets
  bool has_reconnected_ = false;
  SignalWatch signals_;  // last: its handlers use all of the above
};

}  // namespace vmrig
