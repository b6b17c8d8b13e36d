// Programs as tests run them: with a deadline, their output kept.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "hostcfg/base/fd.hpp"

namespace vmrig::testing {

inline constexpr std::chrono::seconds kCommandDeadline{60};

struct CommandRequest {
  std::vector<std::string> argv;                          // argv[0] is looked for in PATH
  std::map<std::string, std::string> environment;         // over this process's
  std::string input;                                      // written to its standard input
  bool keep_input_open = false;                           // after `input`; else the end follows
  std::chrono::milliseconds deadline = kCommandDeadline;  // then it is killed
};

struct CommandResult {
  int status = -1;  // exit status, or 128 + the signal's number as in a shell
  std::string out;
  std::string err;
  bool timed_out = false;
  // Another process still holds its standard output or error: something was left behind.
  bool output_left_open = false;
  std::chrono::milliseconds took{0};
};

// A started program in a process group of its own; killed with that group and reaped when the
// object goes.
class RunningCommand {
 public:
  explicit RunningCommand(CommandRequest request);
  RunningCommand(const RunningCommand&) = delete;
  RunningCommand& operator=(const RunningCommand&) = delete;
  ~RunningCommand();

  pid_t pid() const { return pid_; }
  bool has_ended() const { return ended_; }
  void send_signal(int number) const;
  void write_input(std::string_view text);
  // True once standard output (or error) holds `text`; false at the deadline or the program's end.
  bool wait_for_out(std::string_view text, std::chrono::milliseconds within = kCommandDeadline);
  bool wait_for_err(std::string_view text, std::chrono::milliseconds within = kCommandDeadline);
  // Its end, or the request's deadline.
  const CommandResult& wait();
  const std::string& out() const { return result_.out; }
  const std::string& err() const { return result_.err; }

 private:
  using Clock = std::chrono::steady_clock;
  enum class Pump { kOn, kNothingMore };

  void start();
  Pump pump(Clock::time_point until);
  void collect();
  void finish_output();
  bool wait_for(const std::string& text, std::string_view wanted, std::chrono::milliseconds within);

  CommandRequest request_;
  CommandResult result_;
  Clock::time_point begin_;
  Clock::time_point deadline_;
  pid_t pid_ = -1;
  bool ended_ = false;
  Fd pidfd_;
  Fd input_;
  Fd out_;
  Fd err_;
};

CommandResult run_command(CommandRequest request);

}  // namespace vmrig::testing
