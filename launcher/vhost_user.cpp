#include "launcher/vhost_user.hpp"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "hostcfg/base/fd.hpp"

namespace vmrig {

bool has_listener(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return true;
  std::memcpy(address.sun_path, path.data(), path.size());
  // A datagram socket can't be connected to a stream socket: EPROTOTYPE when there is one.
  // Source: unix(7).
  const Fd probe(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!probe) return true;
  if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
    return false;  // a datagram socket, which QEMU can't use
  }
  return errno != ENOENT && errno != ECONNREFUSED;
}

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
