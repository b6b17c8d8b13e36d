// How a fault is told to the user: once, in one shape, on standard error.
#pragma once

#include <exception>
#include <string>

#include "hostcfg/base/error.hpp"

namespace vmrig {

enum class ErrorForm { kText, kJson };

struct Report {
  ExitStatus status = ExitStatus::kFailed;
  std::string text;  // ends with a newline; empty for what needs no words
};

// What to print for `fault`, and the exit status. Knows Error, DiagnosticsError, qmp::Error and
// OutputClosed. Text form: "vmrig: operation "object": cause" and "       mend: …". JSON form:
// {"errors": [{"status", "message", "mend", …}], "status": N} on one line.
Report describe_fault(const std::exception& fault, ErrorForm form);

// Prints it and returns the status.
ExitStatus report_fault(const std::exception& fault, ErrorForm form);

// A line to standard error that is no fault: "vmrig: TEXT".
void note(const std::string& text);

}  // namespace vmrig
