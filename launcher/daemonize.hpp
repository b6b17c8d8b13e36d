// Puts a VM's supervisor into the background, and reports its start in the foreground.
#pragma once

#include <functional>

#include "hostcfg/base/fd.hpp"
#include "hostcfg/base/json.hpp"

namespace vmrig {

// The child's end of the pipe to the command that started it.
class ReadyPipe {
 public:
  explicit ReadyPipe(Fd fd) : fd_(std::move(fd)) {}
  // Tells the parent that the VM runs; `report` is what run_detached returns. Standard streams
  // are /dev/null from here on.
  void ready(const Json& report);
  bool is_told() const { return !fd_; }
  // Carries the exception in flight to the parent, which throws it again.
  void fail(const std::exception& error);

 private:
  void send(const Json& message);
  Fd fd_;
};

// Forks; the child becomes leader of a session of its own, runs `supervisor` and exits with what it
// returns. An exception of its own (vmrig::Error, DiagnosticsError, any std::exception) before
// ready() is thrown here, in the parent. Returns the report given to ready(). Throws vmrig::Error
// when the child ends without a word. A SIGINT meanwhile is
// for the child, too; who sends one while the guest runs and is waited for leaves it running. Call
// it before any thread exists.
Json run_detached(const std::function<int(ReadyPipe&)>& supervisor);

}  // namespace vmrig
