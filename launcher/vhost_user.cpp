#include "launcher/vhost_user.hpp"

#include <fmt/format.h>

#include <utility>

#include "hostcfg/unix_listener.hpp"

namespace vmrig {

Error no_switch(std::string operation, const std::string& id, const VhostUserConfig& nic) {
  const std::string socket = quote(nic.socket.value_or(""));
  return Error(
      {.status = ExitStatus::kHost,
       .operation = std::move(operation),
       .object = id,
       .cause = nic.server ? fmt::format("no switch has connected to {}", socket)
                           : fmt::format("nobody listens on {}", socket),
       .mend = nic.server
                   ? "start the switch, with a port that connects to that socket"
                   : R"(start the switch first, or "server": true where it connects to QEMU)"});
}

std::optional<Error> missing_switch(const VmConfig& config) {
  const NicConfig* waited_for = nullptr;
  for (const NicConfig& nic : config.nics) {
    if (nic.type != NicType::kVhostUser) continue;
    if (nic.vhost_user.server) {
      waited_for = &nic;  // who has connected can't be told from here
    } else if (!has_listener(nic.vhost_user.socket.value_or(""))) {
      waited_for = &nic;
      break;
    }
  }
  if (waited_for == nullptr) return std::nullopt;
  return no_switch("start QEMU with", waited_for->id, waited_for->vhost_user);
}

}  // namespace vmrig
