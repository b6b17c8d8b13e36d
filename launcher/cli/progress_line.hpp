// A line on the terminal that is rewritten while something takes its time.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "hostcfg/base/bytes.hpp"

namespace vmrig {

// "stopping "a", 12 of 60 s", from the first second on until it goes. Where standard error is no
// terminal it does nothing at all. It has a thread of its own, so that the caller can block; don't
// fork meanwhile.
class ProgressLine {
 public:
  // `limit`: how long it may take, when that is known.
  explicit ProgressLine(std::string what,
                        std::optional<std::chrono::milliseconds> limit = std::nullopt);
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  ~ProgressLine() { end(); }

  // How far it is: "populated 3.1 of 8.0 GiB of memory"; empty: no such thing any more.
  void tell(const std::string& detail);
  // Erases it for good.
  void end();

 private:
  void keep_showing();
  void show(std::chrono::steady_clock::time_point now);

  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  const std::string what_;
  std::string limit_;  // " of 60", or empty
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string detail_;
  bool is_over_ = false;
  bool is_shown_ = false;
  bool has_news_ = false;
  std::thread thread_;  // the last: it uses the others
};

// Memory on its way; nothing more of it when nothing is wanted.
void tell_populating(ProgressLine& line, Bytes got, Bytes wanted);

}  // namespace vmrig
