// The supervisor's log: one line an occurrence, in the VM's folder.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>
#include <utility>

#include "hostcfg/base/fd.hpp"

namespace vmrig {

// How many lines a guest, or whoever has the VM's sockets, may cause: many at once, then a few a
// second.
class LineBudget {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr double kBurst = 100;
  static constexpr double kPerSecond = 5;

  // False when the line is to be left out; it is counted then.
  bool take(Time now);
  // How many were left out since the last call.
  std::uint64_t take_left_out() { return std::exchange(left_out_, 0); }

 private:
  double tokens_ = kBurst;
  Time last_{};
  std::uint64_t left_out_ = 0;
};

class VmLog {
 public:
  // Takes a file opened for append. `cut` is called when it has got kMaxLogBytes long, and has to
  // make it short. Never throws: a full disk must not end a VM.
  VmLog(Fd file, std::function<void()> cut);

  // Writes the time (UTC) and the message.
  void write(std::string_view message);
  // The same for what a guest or a client can cause as often as it likes: within a LineBudget; a
  // line tells of those that were left out.
  void write_bounded(std::string_view message);

 private:
  Fd file_;
  std::function<void()> cut_;
  LineBudget budget_;
  std::size_t size_ = 0;  // bytes in the file, about
};

}  // namespace vmrig
