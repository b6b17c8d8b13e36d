// vmrig's faults as refusals on the shared QMP socket, and back.
#pragma once

#include <exception>
#include <string>

#include "hostcfg/base/error.hpp"
#include "qmp/error.hpp"

namespace vmrig {

// The exit status becomes QMP's class ("VmrigBusy", …; GenericError for kFailed), the text its
// description, with the mend on a line of its own.
qmp::Error refusal_of(const std::exception_ptr& fault);

// What a supervisor refused, as its client throws it.
Error error_of(const qmp::Error& refusal);

}  // namespace vmrig
