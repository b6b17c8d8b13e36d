// The host can't do what was asked of it.
#pragma once

#include <string>

#include "hostcfg/base/error.hpp"

namespace vmrig {

// "operation object: cause", with the mend where there is one; ends in exit status kHost.
Error host_refusal(std::string operation, std::string object, std::string cause,
                   std::string mend = {});

}  // namespace vmrig
