// Many QMP commands over one connection: from a script, or typed.
#pragma once

#include <chrono>

#include "hostcfg/base/error.hpp"
#include "launcher/commands/vm_connection.hpp"

namespace vmrig {

struct QmpSessionOptions {
  enum class Form { kPeople, kJson };
  enum class OnError { kStop, kGoOn };

  std::string name;  // the VM's
  std::chrono::milliseconds timeout{};
  Form form = Form::kPeople;
  OnError on_error = OnError::kStop;
};

// Commands from standard input, one a line; a whole reply on one line of standard output for each,
// in order. Returns the status of the first that failed. Throws Error when the VM is gone.
ExitStatus run_qmp_script(VmConnection vm, const QmpSessionOptions& options);

// Commands typed at a terminal; events are printed as they come.
ExitStatus run_qmp_terminal(VmConnection vm, const QmpSessionOptions& options);

}  // namespace vmrig
