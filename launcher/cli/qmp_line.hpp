// A QMP command as it is typed.
#pragma once

#include <string_view>

#include "hostcfg/base/json.hpp"

namespace vmrig {

// A bare name, a name followed by its arguments as a JSON object, or a whole QMP request. Returns
// a request: an object with "execute" or "exec-oob" and what else was given. Null for an empty line
// and for a comment (#). Throws Error or DiagnosticsError (kUsage).
Json read_qmp_line(std::string_view line);

// `text` as the arguments of a command. Throws as read_qmp_line().
Json read_qmp_arguments(std::string_view text);

}  // namespace vmrig
