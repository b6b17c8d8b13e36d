// A process by pid and start time, watched and signalled by its pidfd.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "hostcfg/base/fd.hpp"
#include "qmp/deadline.hpp"

namespace vmrig {

// A pid alone is reused by the kernel; with the start time it names one process of this boot.
struct ProcessIdentity {
  pid_t pid = -1;
  std::uint64_t start_time = 0;  // clock ticks since boot; field 22 of /proc/PID/stat
  bool operator==(const ProcessIdentity&) const = default;
};

// The process with that pid now; nullopt when there is none or all of its threads have ended (a
// zombie). Source: proc(5), /proc/PID/stat.
std::optional<ProcessIdentity> identify_process(pid_t pid);

// How long the process has been there, by a clock that does not jump and counts a sleeping host's
// time, too. Source: proc(5), starttime; clock_gettime(2), CLOCK_BOOTTIME.
std::chrono::seconds age_of(const ProcessIdentity& process);

// The one of that /proc/PID/stat, whether it lives or not; nullopt for a text that is none.
std::optional<ProcessIdentity> identity_in_stat(std::string_view text);

// A zombie is not alive, though its pid and start time still match; but as long as one of its
// threads lives, so do its memory and its open files, and with them what it holds of the host.
bool is_alive(const ProcessIdentity& process);

// Whether it is alive, and of that user. Who controls another user's VM takes the pids from that
// user's file, and must end nobody else's process for it.
bool is_alive_of(const ProcessIdentity& process, uid_t user);

// A pidfd of exactly that process, close-on-exec; empty when it is gone. Throws vmrig::Error when
// the kernel refuses (no fds left).
Fd open_pidfd(const ProcessIdentity& process);

// Signals through the pidfd; false when the process is gone. Throws vmrig::Error when not allowed.
bool send_signal(int pidfd, int signal_number);

// Blocks until the process ends; false at the deadline. Works for processes that are not children.
bool wait_for_exit(int pidfd, qmp::Deadline deadline);

// How a child ended.
struct ExitReport {
  int status = 0;  // exit status, when signal_number is 0
  int signal_number = 0;
  bool clean() const { return status == 0 && signal_number == 0; }
};

std::string to_string(const ExitReport& report);  // "exit status 1", "signal 11 (SIGSEGV)"

// Collects a child that has ended, so that no zombie stays; nullopt when it still runs, or is no
// child of this process (an adopted QEMU: ECHILD). The only place that waits for QEMU.
std::optional<ExitReport> reap(int pidfd);

// Collects every child that has ended but `qemu`, whose status is left for reap(): as PID 1, vmrig
// inherits every orphan of the container. -1: all of them.
void reap_orphans(pid_t qemu);

// Random text that the kernel makes anew at each boot.
std::string read_boot_id();

}  // namespace vmrig
