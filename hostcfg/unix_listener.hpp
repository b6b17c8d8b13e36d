// Whether somebody serves a Unix socket.
#pragma once

#include <string>

namespace vmrig {

// Whether a process has the Unix stream socket of this path open. It is not connected to: there
// are switches that serve one connection only. True when that can't be told.
bool has_listener(const std::string& path);

}  // namespace vmrig
