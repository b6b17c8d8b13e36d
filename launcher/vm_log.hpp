// The supervisor's log: one line an occurrence, in the VM's folder.
#pragma once

#include <cstddef>
#include <string_view>
#include <utility>

#include "hostcfg/base/fd.hpp"

namespace vmrig {

class VmLog {
 public:
  // Takes a file opened for append. Never throws: a full disk must not end a VM.
  explicit VmLog(Fd file) : file_(std::move(file)) {}

  // Writes the time (UTC) and the message. Past 1 MiB nothing more is written: a guest that resets
  // in a loop must not fill the host's memory.
  void write(std::string_view message);

 private:
  Fd file_;
  std::size_t written_ = 0;  // bytes
};

}  // namespace vmrig
