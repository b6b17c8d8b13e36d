// The checkpoint of vmrig_crash, a vmrig for the lab's crash matrix: the process dies by SIGKILL at
// the checkpoint that VMRIG_CRASH_AT counts to, with no chance to clean up.
//   VMRIG_CRASH_AT=N     from 1; counted in each process by itself
//   VMRIG_CRASH_LOG=FILE gets a line a checkpoint, the last before the death
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <string>

#include "hostcfg/base/fd.hpp"
#include "hostcfg/checkpoint.hpp"

namespace {

int crash_at() {
  const char* text = std::getenv("VMRIG_CRASH_AT");
  int number = 0;
  if (text != nullptr) std::from_chars(text, text + std::strlen(text), number);
  return number;
}

void log(const char* where) {
  const char* path = std::getenv("VMRIG_CRASH_LOG");
  if (path == nullptr) return;
  const vmrig::Fd file(::open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  const std::string line = std::string(where) + "\n";
  if (::write(file.get(), line.data(), line.size()) < 0) std::abort();
}

}  // namespace

void vmrig::checkpoint(const char* where) {
  static std::atomic<int> passed = 0;
  log(where);
  if (++passed == crash_at()) ::kill(::getpid(), SIGKILL);
}
