// The walls of the house: the rooms that decide can't act.
#include <doctest/doctest.h>

#include <array>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/run_command.hpp"

namespace {

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts(1);
  for (char c : text) {
    if (c == at) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

}  // namespace

TEST_CASE("devices, plan and models have no symbol that could cause an effect") {
  // Undefined symbols of the static libraries, as the linker will look for them.
  const std::vector<std::string> forbidden = {"open",
                                              "open64",
                                              "openat",
                                              "openat64",
                                              "fopen",
                                              "fopen64",
                                              "creat",
                                              "socket",
                                              "connect",
                                              "bind",
                                              "listen",
                                              "accept",
                                              "accept4",
                                              "fork",
                                              "vfork",
                                              "execve",
                                              "execvp",
                                              "posix_spawn",
                                              "clone",
                                              "ioctl",
                                              "getenv",
                                              "secure_getenv",
                                              "setenv",
                                              "clock_gettime",
                                              "gettimeofday",
                                              "time",
                                              "kill",
                                              "system",
                                              "popen",
                                              "mount",
                                              "mkdir",
                                              "unlink",
                                              "rename",
                                              "write",
                                              "read",
                                              "stat",
                                              "stat64",
                                              "lstat",
                                              "sched_setaffinity",
                                              "getrandom",
                                              "random",
                                              "rand",
                                              "sysconf",
                                              "std::random_device",
                                              "mmap",
                                              "dlopen",
                                              "syscall"};
  int symbols = 0;
  for (const std::string& library : split(VMRIG_PURE_LIBRARIES, ':')) {
    vmrig::testing::CommandRequest nm;
    nm.argv = {"nm", "--undefined-only", "--demangle", library};
    const vmrig::testing::CommandResult result = vmrig::testing::run_command(nm);
    REQUIRE(result.status == 0);
    for (const std::string& line : split(result.out, '\n')) {
      const std::size_t mark = line.find(" U ");
      if (mark == std::string::npos) continue;
      ++symbols;
      std::string name = line.substr(mark + 3);
      name = name.substr(0, name.find('@'));
      for (const std::string& bad : forbidden) {
        CHECK_MESSAGE(name != bad, library << " calls " << name);
      }
      for (const char* room : {"std::chrono::_V2", "std::basic_fstream", "std::basic_ifstream",
                               "std::basic_ofstream", "std::filesystem", "std::random_device",
                               "boost::", "nl_", "rtnl_", "capng_", "hwloc_"}) {
        CHECK_MESSAGE(name.rfind(room, 0) != 0, library << " uses " << name);
      }
    }
  }
  CHECK(symbols > 100);
}
