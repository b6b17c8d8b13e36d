#include "tests/support/held_at_exit.hpp"

#include <sys/ptrace.h>
#include <sys/wait.h>

#include <csignal>
#include <utility>

#include "tests/support/vm_guard.hpp"

namespace vmrig::testing {

HeldAtExit::HeldAtExit(pid_t pid)
    : pid_(pid), is_traced_(::ptrace(PTRACE_SEIZE, pid, nullptr, PTRACE_O_TRACEEXIT) == 0) {}

bool HeldAtExit::kill() const {
  if (::kill(pid_, SIGKILL) != 0) return false;
  int status = 0;
  return eventually([&] { return ::waitpid(pid_, &status, __WALL | WNOHANG) == pid_; }) &&
         WIFSTOPPED(status) && status >> 8 == (SIGTRAP | (PTRACE_EVENT_EXIT << 8));
}

void HeldAtExit::let_go() {
  if (std::exchange(is_traced_, false)) ::ptrace(PTRACE_DETACH, pid_, nullptr, nullptr);
}

}  // namespace vmrig::testing
