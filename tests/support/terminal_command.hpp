// A program on a terminal of its own.
#pragma once

#include <sys/types.h>
#include <termios.h>

#include <chrono>
#include <string>
#include <string_view>

#include "hostcfg/base/fd.hpp"
#include "tests/support/run_command.hpp"

namespace vmrig::testing {

// Its standard streams are a pseudo-terminal of 24 rows and 80 columns. Killed with its session and
// reaped when the object goes.
class TerminalCommand {
 public:
  explicit TerminalCommand(const CommandRequest& request);
  TerminalCommand(const TerminalCommand&) = delete;
  TerminalCommand& operator=(const TerminalCommand&) = delete;
  ~TerminalCommand();

  pid_t pid() const { return pid_; }
  void type(std::string_view keys) const;
  void resize(unsigned short rows, unsigned short columns) const;
  // What it is set to now.
  termios mode() const;
  // All that it has shown so far.
  const std::string& shown() const { return shown_; }
  // Forgets what it has shown, and waits for `text` after that.
  void forget() { shown_.clear(); }
  bool wait_for(std::string_view text, std::chrono::milliseconds within = kCommandDeadline);
  // Its end, as CommandResult::status; -1 at the deadline.
  int wait(std::chrono::milliseconds within = kCommandDeadline);

 private:
  // False when nothing came until then, or the program has closed its terminal.
  bool read_more(std::chrono::steady_clock::time_point until);

  pid_t pid_ = -1;
  Fd terminal_;
  Fd pidfd_;
  std::string shown_;
  int status_ = -1;
  bool has_ended_ = false;
};

}  // namespace vmrig::testing
