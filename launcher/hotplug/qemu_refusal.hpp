// What QEMU said of a command, as an error for the user.
#pragma once

#include <string>

#include "hostcfg/base/error.hpp"
#include "qmp/error.hpp"

namespace vmrig {

Error qemu_refusal(std::string operation, std::string object, const qmp::Error& fault);

}  // namespace vmrig
