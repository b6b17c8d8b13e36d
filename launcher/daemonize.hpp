// Puts a VM's supervisor into the background, and reports its start in the foreground.
#pragma once

#include <sys/types.h>

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

// A child that was forked off, leader of a session of its own, which runs `supervisor` and exits
// with what it returns. To be made before any thread exists. Throws vmrig::Error when there can be
// none.
class DetachedProcess {
 public:
  explicit DetachedProcess(const std::function<int(ReadyPipe&)>& supervisor);

  // Waits for the report given to ready(), and returns it. An exception of the child's own
  // (vmrig::Error, DiagnosticsError, any std::exception) before ready() is thrown here; it has
  // ended then. Throws vmrig::Error when the child ends without a word. A SIGINT meanwhile is for
  // the child, too; who sends one while the guest runs and is waited for leaves it running. To be
  // called once.
  Json report();

 private:
  pid_t pid_ = -1;
  Fd pipe_;
};

// The one and the other.
Json run_detached(const std::function<int(ReadyPipe&)>& supervisor);

// Runs `work` in a process of its own that nobody waits for and nobody hears of; it inherits no
// open file, and so no lock. To be called before any thread exists. Returns at once, also when
// there can be no such process.
void run_unheard(const std::function<void()>& work);

}  // namespace vmrig
