// From a plan to a running, pinned guest.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hostcfg/populate.hpp"
#include "hostcfg/topology.hpp"
#include "launcher/exit_watch.hpp"
#include "launcher/plan.hpp"
#include "launcher/spawn.hpp"
#include "launcher/state_dir.hpp"
#include "launcher/vm_state.hpp"
#include "qmp/client.hpp"

namespace vmrig {

struct LaunchRequest {
  Plan plan;
  VmFolder folder;                   // claimed
  VmState state;                     // with which it was claimed
  std::optional<Topology> topology;  // for pinning; read when needed and not given
  std::vector<MemoryFile> memory;    // the plan's regions, populated; QEMU gets fds of its own
};

struct LaunchOptions {
  enum class First { kContinue, kStayPaused };
  SpawnRequest::ParentDeath parent_death = SpawnRequest::ParentDeath::kSurvive;
  First first = First::kContinue;
  std::chrono::milliseconds timeout{30'000};  // from the start until the guest runs
  // Called right after QEMU was started, to do work while it initialises; may be empty.
  std::function<void(const Child&)> meanwhile;
  // Subscribed before the guest runs, so that no event of its life is missed; may be empty.
  std::function<void(const qmp::Event&)> on_event;
};

// A QEMU that is this process's child, with the only connection to its monitor.
struct Session {
  Child child;
  std::unique_ptr<ExitWatch> exit;
  std::unique_ptr<qmp::Client> monitor;
  qmp::Subscription events;
  std::vector<VmThread> threads;
  Fd console;         // connected to the first serial socket; empty when there is none
  std::string found;  // of a QEMU that was taken over: query-status' word at that moment
};

// Of a connection to QEMU's monitor that is to be the only one. QEMU reads the next commands while
// it carries one out where oob is enabled.
qmp::ClientOptions monitor_options();

// The names of the serial ports' sockets in the VM's folder; the first is the console.
std::vector<std::string> serial_sockets(const Plan& plan);

// Starts QEMU stopped, negotiates, pins every vCPU and iothread, connects the console, continues.
// Throws vmrig::Error with QEMU's own words when it ends or refuses, at once; when it hangs, at the
// timeout. QEMU is gone then, and reaped.
boost::asio::awaitable<Session> launch(boost::asio::io_context& context,
                                       const LaunchRequest& request, LaunchOptions options);

}  // namespace vmrig
