// A process that the kernel holds on its way out, after SIGKILL and before it gives up its files.
#pragma once

#include <sys/types.h>

namespace vmrig::testing {

// For one thread's use. Source: ptrace(2), PTRACE_O_TRACEEXIT.
class HeldAtExit {
 public:
  explicit HeldAtExit(pid_t pid);
  HeldAtExit(const HeldAtExit&) = delete;
  HeldAtExit& operator=(const HeldAtExit&) = delete;
  ~HeldAtExit() { let_go(); }

  bool is_traced() const { return is_traced_; }  // else there is no right to
  bool kill() const;                             // true when it is held
  void let_go();

 private:
  pid_t pid_;
  bool is_traced_ = false;
};

}  // namespace vmrig::testing
