// A program on a terminal of its own.
#pragma once

#include <sys/types.h>
#include <termios.h>

#include <chrono>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "hostcfg/base/fd.hpp"

namespace vmrig::testing {

// The leader of a session whose controlling terminal it is; killed and reaped when the object goes.
class Terminal {
 public:
  // `environment` over this process's; argv[0] is looked for in PATH.
  Terminal(std::vector<std::string> argv, const std::map<std::string, std::string>& environment);
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;
  ~Terminal();

  pid_t pid() const { return pid_; }
  void type(std::string_view keys) const;
  void resize(unsigned short rows, unsigned short columns) const;
  // What the terminal is set to now.
  termios mode() const;

  // False when the text was not shown in time, or before the program ended.
  bool wait_for(std::string_view text, std::chrono::milliseconds within = std::chrono::seconds(60));
  // What was shown until the program ended.
  const std::string& read_to_end(std::chrono::milliseconds within = std::chrono::seconds(60));
  // As when its window is closed, or its line goes dead: the kernel hangs up.
  void hang_up() { screen_.reset(); }
  const std::string& shown() const { return shown_; }
  // What comes next is all that was shown.
  void forget() { shown_.clear(); }
  // Reads to the end, and gives the exit status, 128 + the signal's number as in a shell; -1 when
  // it has not ended in time.
  int wait(std::chrono::milliseconds within = std::chrono::seconds(60));

 private:
  bool read_more(std::chrono::steady_clock::time_point until);

  pid_t pid_ = -1;
  Fd screen_;
  std::string shown_;
  bool has_ended_ = false;
};

// Where `text` would drive a terminal otherwise than by a line's end, a tab or a colour; empty when
// it would not.
std::string danger_in(std::string_view text);

}  // namespace vmrig::testing
