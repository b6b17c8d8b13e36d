// Ends a QEMU: asks the guest, then QEMU, then the kernel.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <functional>
#include <string_view>

#include "launcher/exit_watch.hpp"
#include "launcher/state_dir.hpp"
#include "qmp/client.hpp"

namespace vmrig {

enum class StopBy { kPowerdown, kQuit, kKill };
std::string_view stop_by_name(StopBy by);  // "powerdown", "quit", "kill"

struct StopOptions {
  enum class First { kPowerdown, kQuit };  // kQuit is `stop --force`
  First first = First::kPowerdown;
  std::chrono::milliseconds powerdown_timeout{60'000};
  std::chrono::milliseconds quit_timeout{2'000};
  std::function<void(StopBy)> on_rung;  // told of each rung before it is tried; may be empty
};

// Climbs until the process has ended, and tells the rung that did it. `monitor` may be null or
// closed: then straight to SIGKILL through `pidfd`. A paused guest is continued so that it can
// react to the power button; one that has panicked or powered off, and stands still, is not asked.
// A second, more forceful ladder may be climbed beside a first. Throws
// vmrig::Error when the kill is not allowed.
boost::asio::awaitable<StopBy> stop_qemu(qmp::Client* monitor, ExitWatch& exit, int pidfd,
                                         StopOptions options);

// `vmrig stop` for a VM whose supervisor is dead: takes its monitor over, ends QEMU and removes the
// folder. Blocks. Throws vmrig::Error.
StopBy stop_orphan(const StateRoot& root, const std::string& name, StopOptions options);

}  // namespace vmrig
