// A process on its way out.
#pragma once

#include "launcher/process.hpp"

namespace vmrig {

// Whether it has been sent SIGKILL and is there still: until its exit is over it is alive, and has
// its locks and files. Source: proc(5), /proc/PID/status: ShdPnd, SigPnd.
bool is_dying(const ProcessIdentity& process);

}  // namespace vmrig
