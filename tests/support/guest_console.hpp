// Commands in a running test guest, through its serial console.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "hostcfg/base/fd.hpp"
#include "tests/support/guest.hpp"

namespace vmrig::testing {

struct GuestAnswer {
  int status = -1;
  std::string output;  // both streams, without the last newline
};

// One client of a VM's console.sock. Every wait has a deadline, at which std::runtime_error is
// thrown with what the guest printed; so it is when the console ends.
class GuestConsole {
 public:
  using Milliseconds = std::chrono::milliseconds;

  // kPrompts: its prompt has been or will be printed. kIsSilent: nothing that it has printed before
  // is known any more, and it is asked for a new prompt.
  enum class Shell { kPrompts, kIsSilent };

  // Connects, and waits until the guest's shell is there.
  explicit GuestConsole(const std::string& socket, Milliseconds boot_time = kGuestBootTime,
                        Shell shell = Shell::kPrompts);

  // Runs a shell command (at most 3 kB); its standard input is empty.
  GuestAnswer ask(const std::string& command, Milliseconds within = std::chrono::seconds(30));
  // The same; throws with the output unless the status is 0.
  std::string run(const std::string& command, Milliseconds within = std::chrono::seconds(30));
  // Waits inside the guest until `condition`, a shell command, succeeds: "test -b /dev/vdb".
  // Returns what it printed.
  std::string await(const std::string& condition,
                    std::chrono::seconds within = std::chrono::seconds(30));
  // Waits until the guest prints `text` after all that was read before; after a reboot, say.
  void wait_for(std::string_view text, Milliseconds within = kGuestBootTime);

 private:
  using Clock = std::chrono::steady_clock;

  // Returns what stands before `text`, and forgets it together with `text`.
  std::string read_until(std::string_view text, Clock::time_point deadline);
  void send(std::string_view bytes, Clock::time_point deadline);
  void wait_for_socket(short events, Clock::time_point deadline, std::string_view wanted);

  Fd socket_;
  std::string unread_;  // without carriage returns
  std::string session_;
  int asked_ = 0;
};

}  // namespace vmrig::testing
