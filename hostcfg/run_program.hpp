// Runs a program to its end. For the few things that the kernel leaves to one (modprobe,
// ovs-vsctl).
#pragma once

#include <string>
#include <vector>

namespace vmrig {

struct ProgramResult {
  int status = 0;      // of wait(2)
  std::string output;  // what it wrote, without the last newline; cut at 4096 bytes each
  std::string errors;
  bool succeeded() const { return status == 0; }
};

// `command` is the program's path and its arguments; the environment is `environment` alone
// ("NAME=value"). Standard input is empty, signals are at their defaults. Blocks. Throws
// vmrig::Error with `operation` and `object` when it can't be started.
ProgramResult run_program(const std::vector<std::string>& command,
                          const std::vector<std::string>& environment, const char* operation,
                          const std::string& object);

// The first of these paths that may be run; empty: none.
std::string find_program(const std::vector<std::string>& paths);

}  // namespace vmrig
