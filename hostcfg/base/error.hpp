// What failed, on what, why, and the command that mends it.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace vmrig {

// The exit statuses of the program, as promised to scripts.
enum class ExitStatus : int {
  kDone = 0,
  kFailed = 1,
  kUsage = 2,
  kHost = 3,
  kQemu = 4,
  kNoSuchVm = 5,
  kBusy = 6,
  kTimeUp = 124,
  kKilled = 137,
};

// A run-time fault. Thrown by value; printed once, in main.
class Error : public std::runtime_error {
 public:
  struct Parts {
    ExitStatus status = ExitStatus::kFailed;
    std::string operation;  // what failed, as a phrase: "open", "start QEMU"
    std::string object;     // the thing, printed in quotes; may be empty
    std::string cause;      // why; may be empty
    std::string mend;       // what to do, a command where one exists; may be empty
  };

  explicit Error(Parts parts);

  const Parts& parts() const { return parts_; }
  ExitStatus status() const { return parts_.status; }

 private:
  Parts parts_;
};

// An Error for a failed system call: the cause is errno's own text.
Error system_error(std::string operation, std::string object, int error_number,
                   std::string mend = {});

enum class Severity { kOk, kWarning, kProblem };

std::string_view severity_name(Severity severity);

// One finding about a config or a host. A list of them is reported at once.
struct Diagnostic {
  Severity severity = Severity::kProblem;
  ExitStatus status = ExitStatus::kUsage;  // what the program exits with for this one
  std::string path;                        // config path, "memory.size"; may be empty
  std::string message;
  std::string mend;
  std::string file;  // the config file, empty where no file is at fault
  int line = 0;      // from 1; 0 where unknown
};

// "file:line: path: message", and the mend on a line of its own.
std::string format_diagnostic(const Diagnostic& diagnostic);

// Many faults found together; never thrown empty.
class DiagnosticsError : public std::runtime_error {
 public:
  explicit DiagnosticsError(std::vector<Diagnostic> diagnostics);
  const std::vector<Diagnostic>& diagnostics() const { return diagnostics_; }
  // The status of the first problem: config faults before host faults.
  ExitStatus status() const;

 private:
  std::vector<Diagnostic> diagnostics_;
};

// `text` in double quotes, with control and non-UTF-8 bytes escaped, so that a hostile
// name can't write to the user's terminal.
std::string quote(std::string_view text);

}  // namespace vmrig
