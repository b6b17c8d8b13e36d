// The checkpoint of vmrig_crash, a vmrig for crash matrices: the process dies by SIGKILL at the
// checkpoint that VMRIG_CRASH_AT counts to, with no chance to clean up.
//   VMRIG_CRASH_AT=N       from 1; counted in each process by itself
//   VMRIG_CRASH_LOG=FILE   gets a line a checkpoint, the last before the death
//   VMRIG_CRASH_KILL=WHOM  supervisor (this process, as without it), qemu, or both
//   VMRIG_CRASH_QEMU=FILE  QEMU's own record of its pid (qemu.stat in the VM's folder)
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

std::string setting(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : value;
}

void kill_qemu() {
  const vmrig::Fd file(::open(setting("VMRIG_CRASH_QEMU").c_str(), O_RDONLY | O_CLOEXEC));
  char text[64] = {};
  if (!file || ::read(file.get(), text, sizeof(text) - 1) <= 0) return;  // there is none yet
  pid_t pid = -1;
  std::from_chars(text, text + std::strlen(text), pid);
  if (pid > 0) ::kill(pid, SIGKILL);
}

void strike() {
  const std::string whom = setting("VMRIG_CRASH_KILL");
  if (whom == "qemu" || whom == "both") kill_qemu();
  if (whom != "qemu") ::kill(::getpid(), SIGKILL);
}

}  // namespace

void vmrig::checkpoint(const char* where) {
  static std::atomic<int> passed = 0;
  log(where);
  if (++passed == crash_at()) strike();
}
