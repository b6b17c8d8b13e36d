// A line on the terminal that is rewritten while something takes its time.
#pragma once

#include <chrono>
#include <string>

#include "hostcfg/base/bytes.hpp"

namespace vmrig {

// Silent where standard error is no terminal, and for the first second.
class ProgressLine {
 public:
  ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  ~ProgressLine() { erase(); }

  // `text` of one line: "populated 3.1 of 8.0 GiB of memory".
  void show(const std::string& text);
  void erase();

 private:
  std::chrono::steady_clock::time_point first_{};  // show(); none yet
  bool is_terminal_;
  bool is_shown_ = false;
};

// Memory on its way; erases the line when nothing is wanted.
void show_populating(ProgressLine& line, Bytes got, Bytes wanted);

}  // namespace vmrig
