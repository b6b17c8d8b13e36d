// Tells the service manager (systemd, or what speaks as it does) how a process is doing.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace vmrig {

// What a service manager has put into the environment.
struct ServiceSettings {
  std::string notify_socket;                          // its address; empty: there is none
  std::optional<std::chrono::microseconds> watchdog;  // wants a sign of life this often
};

// From the values of NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID; what is malformed, or meant for
// another process than `self`, is as if it were not there. Source: sd_notify(3),
// sd_watchdog_enabled(3).
ServiceSettings service_settings(const std::string& notify_socket, const std::string& watchdog_usec,
                                 const std::string& watchdog_pid, int self);

// Its protocol is one datagram of lines a message. No libsystemd for it: that would be a library in
// each supervisor's memory for these few lines.
class NotifySocket {
 public:
  explicit NotifySocket(std::string address) : address_(std::move(address)) {}
  bool is_there() const { return !address_.empty(); }

  // kNow: given up when the manager's queue is full. kSurely: waits for room, for two seconds at
  // most.
  enum class Delivery { kNow, kSurely };
  // Sends "NAME=VALUE\nNAME=VALUE". False when it could not be sent; that is no reason to fail.
  bool tell(std::string_view state, Delivery delivery) const;

 private:
  std::string address_;
};

}  // namespace vmrig
