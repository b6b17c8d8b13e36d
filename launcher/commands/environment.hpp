// What the commands take from the process's environment; the library code is given it.
#pragma once

#include <map>
#include <string>

#include "launcher/cli/command_line.hpp"
#include "launcher/notify_socket.hpp"

namespace vmrig {

// The variable's value; empty when it is not set.
std::string environment_value(const char* name);
std::map<std::string, std::string> whole_environment();

// The folder of the VMs' state that the context asks for, else this user's default, absolute.
// Throws vmrig::Error (kUsage).
std::string state_folder(const Context& context);

// Where the abilities of QEMU binaries are cached: VMRIG_CACHE_DIR, else this user's default;
// empty for nowhere.
std::string cache_folder();

// Where typed QMP commands are remembered: $XDG_STATE_HOME or ~/.local/state; made when it is not
// there. Empty for nowhere.
std::string qmp_history_file();

// What a service manager has put there. It is taken out: QEMU and helpers are none of its business.
// To be called before a fork, when the process is still the one that was started.
ServiceSettings take_service_settings();

// `path` made absolute by the working folder; nothing is resolved.
std::string absolute_path(const std::string& path);

}  // namespace vmrig
